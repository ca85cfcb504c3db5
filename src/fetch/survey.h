/* SPDX-License-Identifier: Apache-2.0
 * What is remembered of sources, as plain data: a copy that the fetch thread made at one moment.
 * Nothing of a secret is in it. */
#ifndef FETCH_SURVEY_H
#define FETCH_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fetcher;
struct source;
struct upstream;
struct upstreams;

enum survey_state {
    SURVEY_IN,
    SURVEY_SUSPECT, /* it gives no sign right now */
    SURVEY_LIMITED, /* it limits us, for limited_ms more */
    SURVEY_OUT,     /* left out after failing, for out_ms more (0: until a probe says that it is
                       back) */
};

/* How a source knows us. */
enum survey_login { SURVEY_ANONYMOUS, SURVEY_PASSWORD, SURVEY_TOKEN, SURVEY_CERTIFICATE };

/* Numbers are 0 where nothing is known, rates -1. */
struct survey_source {
    char url[512]; /* without a user: no URL of ours may have one */
    bool is_origin;
    enum survey_login login;
    int64_t token_ms; /* how long a token for what was asked about is good; 0: there is none */
    enum survey_state state;
    const char *why; /* of SURVEY_OUT: "time-out", "wrong bytes" …; else "" */
    int64_t out_ms, limited_ms;
    int64_t connect_ms, first_byte_ms, bytes_per_s;
    int64_t answered_ago_ms; /* -1: it never did */
    unsigned failures;       /* in a row */
    unsigned under_way;
    int64_t rate_limit, rate_remaining;
    /* For what was asked about: which one is asked in its turn (1, 2, …; 0: not at all), and why
     * it stands there. */
    unsigned turn;
    const char *reason;
};

struct survey_registry {
    char name[256];
    struct survey_source *sources; /* as configured: the mirrors, the origin last */
    size_t source_count;
};

struct survey {
    struct survey_registry *registries;
    size_t count;
};

struct survey_request {
    const struct upstreams *upstreams;
    struct upstream *only;  /* that registry; NULL: all of the table */
    const char *repository; /* that turns and reasons are for; NULL: none in particular */
    bool is_content;        /* for bytes, which prove themselves; false: for a tag */
    const char *digest;     /* whose; NULL: not known */
};

/* Calls done once, on the fetch thread, which owns the survey from then on; it must not wait.
 * Strings are copied. false: refused, done is not called. Any thread. */
bool survey_take(struct fetcher *f, const struct survey_request *r,
                 void (*done)(void *cls, struct survey *s), void *cls);
void survey_free(struct survey *s);                     /* NULL is fine */
const char *survey_state_name(enum survey_state state); /* "in" "suspect" "limited" "out" */
enum survey_login survey_login_of(const struct source *s);
const char *survey_login_name(enum survey_login login); /* "anonymous" "password" … */

#endif
