/* SPDX-License-Identifier: Apache-2.0
 * A thread that hashes beside the one that fetches, so that a large blob that comes fast has two
 * processors. It does small works in the order of their coming and knows nothing of what they are;
 * who has much to do posts himself again, so that others have their turn. */
#ifndef CACHE_HASHING_H
#define CACHE_HASHING_H

#include "base/mailbox.h"

struct error;
struct hashing;

/* Embedded in its owner, who owns it again when run is called; there it may be posted again. */
struct hash_work {
    struct letter letter; /* first */
    void (*run)(struct hash_work *w);
};

struct hashing *hashing_start(struct error *e);
/* Runs what waits, joins, frees. Nobody else may post any more. */
void hashing_stop(struct hashing *h);
/* Any thread, never waits. The number of works is bounded by that of their owners. */
void hashing_post(struct hashing *h, struct hash_work *w);

#endif
