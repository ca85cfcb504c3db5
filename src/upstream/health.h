/* SPDX-License-Identifier: Apache-2.0
 * What is remembered of a source, and in which order the sources of a registry are asked for
 * something: a pure function of that memory and the time. No I/O, no clock: monotonic milliseconds
 * are passed in. Belongs to the fetch thread, as what it describes.
 *
 * A source is IN, or OUT after it failed: then it is passed over until its time is up (doubling
 * with each failure in a row, with a cap) and one probe said that it answers again. What it did not
 * have, or what it limits, only passes it over for that content and that time. */
#ifndef UPSTREAM_HEALTH_H
#define UPSTREAM_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HEALTH_BACKOFF_MS = 1000, /* the first; doubles with each further failure */
    HEALTH_BACKOFF_MAX_MS = 60000,
    HEALTH_ORIGIN_MAX_MS = 5000, /* of the origin: tags hang on it */
    HEALTH_WRONG_MS = 600000,    /* after wrong bytes; the origin: HEALTH_BACKOFF_MAX_MS */
    HEALTH_TRIAL_MS = 30000,     /* after a probe, behind those without a stain */
    HEALTH_LIMITED_MS = 5000,    /* after a 429 that does not say how long */
    HEALTH_MISS_MS = 60000,      /* a digest that it did not have */
    HEALTH_MISSES_MAX = 128,     /* remembered of each source */
    HEALTH_MEASURE_MS = 600000,  /* after which what was measured is no longer believed */
    HEALTH_HEDGE_MIN_MS = 300,
    HEALTH_HEDGE_MS = 1000, /* of a source that was not measured */
    HEALTH_HEDGE_MAX_MS = 2000,
};

enum health_failure {
    HEALTH_OK,
    HEALTH_SLOW,    /* gave no sign in time, or sent below the floor */
    HEALTH_ERROR,   /* refused, cut, 5xx, a page, a certificate … */
    HEALTH_TIMEOUT, /* one of the real time-outs */
    HEALTH_WRONG,   /* bytes that are not what their digest says */
    HEALTH_FAILURES /* how many kinds */
};

struct health_miss {
    uint64_t key;
    int64_t until_ms;
    unsigned count; /* of a repository: misses in a row */
};

struct health {
    bool is_origin;
    /* Moving averages; 0: not known. */
    int64_t connect_ms, first_byte_ms, bytes_per_s, measured_at_ms;
    int64_t answered_at_ms; /* its last sign of life; 0: none yet */
    unsigned under_way;     /* requests, probes not counted */
    unsigned suspicions;    /* of them, those that waited longer than the hedge delay */
    int64_t suspected_at_ms;
    bool is_out, is_probed;
    enum health_failure why; /* of the last failure */
    unsigned failures;       /* in a row; a probe's success does not end the row, content does */
    int64_t out_until_ms, back_at_ms, limited_until_ms;
    int64_t rate_limit, rate_remaining; /* as its headers said; -1: they did not */
    struct health_miss misses[HEALTH_MISSES_MAX];
};

void health_init(struct health *h, bool is_origin);

/* --- what happens to a request; each begin has one end ---------------------------------------- */
void health_begin(struct health *h);
/* It waited longer than health_hedge_ms without a sign: others need not wait for that too. */
void health_suspect(struct health *h, int64_t now_ms);
/* Headers came. connect_ms: 0 if the connection was there already. */
void health_sign(struct health *h, int64_t connect_ms, int64_t first_byte_ms, int64_t now_ms);
/* The end: was_suspected if this request called health_suspect. */
void health_end(struct health *h, bool was_suspected);

/* --- what came of it -------------------------------------------------------------------------- */
/* Content came whole: bytes in ms (0: too small to tell a throughput). */
void health_succeeded(struct health *h, uint64_t bytes, int64_t ms, int64_t now_ms);
void health_failed(struct health *h, enum health_failure why, int64_t now_ms);
/* 429. retry_after_s 0: not said. */
void health_limited(struct health *h, int retry_after_s, int64_t now_ms);
/* It does not have that digest, or (digest NULL, or the third digest in a row) that repository. */
void health_missed(struct health *h, const char *repository, const char *digest, int64_t now_ms);
void health_had(struct health *h, const char *repository); /* ends the row of misses */
void health_probe_begin(struct health *h);
void health_probe_end(struct health *h, enum health_failure result, int64_t now_ms);

/* --- questions -------------------------------------------------------------------------------- */
bool health_is_usable(const struct health *h, int64_t now_ms);
/* OUT, its time is up and nobody probes it: one probe is due. */
bool health_wants_probe(const struct health *h, int64_t now_ms);
/* Waits for a sign right now, longer than the hedge delay. */
bool health_is_suspect(const struct health *h);
/* How long a request waits for its sign before the next source is asked beside it. */
int64_t health_hedge_ms(const struct health *h, int64_t now_ms);
/* The sources in the order in which they are to be asked, as indices into all; the count. The
 * origin is the last of all and always among them, each at most once. First the usable ones, by
 * what they are worth, then by preference; then, as last resorts, the origin if it was not usable,
 * those that are out, those that limit us. Left out altogether: mirrors that lacked this, or sent
 * wrong bytes lately. digest may be NULL (asked by name). room: count. */
size_t health_order(const struct health *const *all, size_t count, const char *repository,
                    const char *digest, int64_t now_ms, size_t *order);

/* Why it stands where it does in that order, for a person: "answers well", "limits us". Static. */
const char *health_reason(const struct health *h, const char *repository, const char *digest,
                          int64_t now_ms);

const char *health_failure_name(enum health_failure why);

#endif
