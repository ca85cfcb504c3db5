/* SPDX-License-Identifier: Apache-2.0
 * The way of a command to the server that runs on a data folder: requests to its local door, one by
 * one or many at once. From one thread, whether or not that server runs in this very process. */
#ifndef FETCH_LOCAL_H
#define FETCH_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct error;

struct local_request {
    const char *data; /* the data folder */
    const char *path; /* "/api/status", encoded */
    const char *body; /* NULL: GET; else what is POSTed */
    bool is_head;
    int64_t timeout_ms; /* for all of it; 0: none, the server answers or ends */
};

struct local_answer {
    int status;
    /* of its headers; "" */
    char cache[128];  /* Cache-Status: where it came from */
    char type[256];   /* Content-Type */
    char digest[160]; /* Docker-Content-Digest */
    struct str body;  /* at most 64 MiB; str_fini */
};

/* 1: there is an answer, of whatever status; 0: no server runs on that folder; -1: it cannot be
 * asked (ERR_DENIED), gives no answer in time (ERR_TIMEOUT), or a broken one (ERR_IO). Waits. */
int local_ask(const struct local_request *r, struct local_answer *out, struct error *e);

/* What an answer of another status than 200 says is wrong: -1. */
int local_problem(const struct local_answer *a, struct error *e);

/* Many at once. Who asks bounds how many. */
struct local_line;
/* NULL if there is no such folder, or it cannot be looked into. */
struct local_line *local_line_open(const char *data, struct error *e);
/* What is under way is dropped: its done is not called. */
void local_line_close(struct local_line *l);
/* got and e: as of local_ask; the answer is the caller's, and gone after the call. What the request
 * points to is needed during this call only. */
typedef void (*local_done)(void *cls, int got, const struct local_answer *answer,
                           const struct error *e);
void local_line_ask(struct local_line *l, const struct local_request *r, local_done done,
                    void *cls);
/* Calls done of what was answered, waiting ms at most for one. How many are under way. */
unsigned local_line_run(struct local_line *l, int ms);

#endif
