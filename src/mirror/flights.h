/* SPDX-License-Identifier: Apache-2.0
 * The single-flight table: one flow per digest, one question per key, however many ask. It holds a
 * reference to each; whoever began one takes it out when it ended and what came of it can be found
 * in memory or in the store. Any thread; its mutex (RANK_FLIGHTS) is held for look-ups only.
 *
 * Who finds nothing held and nothing in flight may have looked just as a flight ended. Therefore:
 * read flights_ended, look what is held, then join with that count. If a flight ended in between
 * and there is none to join, none is begun: NULL says to look again. */
#ifndef MIRROR_FLIGHTS_H
#define MIRROR_FLIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/digest.h"

struct answer;
struct flow;
struct flights;
struct store;

struct flights *flights_new(void);
void flights_free(struct flights *f); /* must be empty */

/* How many flights have ended so far. */
uint64_t flights_ended(const struct flights *f);

/* The flow of that digest with a new reference, or NULL. *is_own: the same repository began it. */
struct flow *flights_find_flow(struct flights *f, const struct digest *d, const char *owner,
                               bool *is_own);
/* Joins the flow of that digest or begins one (*begun) for that owner, "registry/repository"; a new
 * reference either way. NULL: look again. */
struct flow *flights_join_flow(struct flights *f, struct store *s, const struct digest *d,
                               long long size_bytes, const char *owner, uint64_t ended,
                               bool *begun);
/* Those in flight, at most max, each with a reference and its owner's name (owned): the count. */
struct flight_view {
    struct flow *flow;
    char *owner; /* "registry/repository" */
};
size_t flights_list(struct flights *f, struct flight_view *out, size_t max);
/* Is there no flow of that digest? */
bool flights_is_free(struct flights *f, const struct digest *d);
/* Takes the flow out unless somebody found or joined it, whom it would fail: true if it did. */
bool flights_retire_flow(struct flights *f, struct flow *flow);
void flights_end_flow(struct flights *f, struct flow *flow);

/* The same for questions. */
struct answer *flights_join(struct flights *f, const char *key, uint64_t ended, bool *begun);
void flights_end(struct flights *f, const char *key);

#endif
