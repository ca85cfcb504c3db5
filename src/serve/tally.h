/* SPDX-License-Identifier: Apache-2.0
 * What was answered, by route, registry, where it came from and status; how long it took. Each
 * worker counts in a tally of its own, so that no two processors fight over a number; they are
 * summed when somebody asks. A tally is written by its worker's thread; sums are taken on any,
 * without a lock. Inside of serve/. */
#ifndef SERVE_TALLY_H
#define SERVE_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "mirror/answer.h"
#include "serve/route.h"

struct str;
struct tallies;
struct tally;

/* One for each of so many workers. */
struct tallies *tallies_new(unsigned count);
void tallies_free(struct tallies *all);
struct tally *tallies_at(struct tallies *all, unsigned i);

struct tally_entry {
    enum route_kind route;
    unsigned registry; /* an account's number; 0: none */
    enum cache_outcome cache;
    unsigned status; /* 0: its client left before there was an answer */
    uint64_t body_bytes;
    bool is_whole;
    int64_t first_byte_us, duration_us;
};

/* A request begins; it ends once, with that entry. */
void tally_begin(struct tally *t);
void tally_end(struct tally *t, const struct tally_entry *e);
unsigned tally_busy(const struct tally *t); /* begun, and not ended */

/* Over all workers and all that they answered. */
struct tally_sum {
    int64_t requests, errors; /* errors: 4xx and 5xx */
    int64_t of_cache[CACHE_NONE + 1];
    int64_t served_bytes, saved_bytes;
};
void tallies_sum(const struct tallies *all, struct tally_sum *out);
/* Their families, for /metrics. */
void tallies_print(const struct tallies *all, struct str *out);

#endif
