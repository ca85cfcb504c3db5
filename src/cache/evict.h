/* SPDX-License-Identifier: Apache-2.0
 * What goes when more is taken than may be. First what was set aside, then what is on its way in
 * and rests; then images, whole: a hand (SIEVE) passes over what is held in the order in which it
 * came, spares once what was used since it last came by, and takes the rest. What an image here
 * names is no candidate; it goes with the last image that names it. Never what is pinned or being
 * read. The ledger's thread only, in slices that are bounded by rows and time. */
#ifndef CACHE_EVICT_H
#define CACHE_EVICT_H

#include <stdbool.h>
#include <stdint.h>

#include "oci/digest.h"

struct error;
struct evict;
struct index;
struct store;

/* Who has held content in memory, and is told and asked on the ledger's thread. May be NULL each.
 */
struct evict_listener {
    bool (*is_read)(void *cls, const struct digest *d); /* somebody is being sent it */
    /* Was it used since this was last asked? Its next use is to be told to the ledger at once. */
    bool (*take_use)(void *cls, const struct digest *d);
    void (*gone)(void *cls, const struct digest *d); /* drop it: the disk's space is wanted */
    void *cls;
};

struct evict *evict_new(struct store *s, struct index *x);
void evict_free(struct evict *v);
void evict_listen(struct evict *v, const struct evict_listener *l);
/* It went for another reason. */
void evict_tell_gone(struct evict *v, const struct digest *d);

/* One slice, if one is needed: true, and it should be called again soon. Logs and counts. */
bool evict_step(struct evict *v);

/* What went. */
struct evicted {
    struct digest digest;
    uint64_t size_bytes;
    bool is_partial;   /* content on its way in */
    bool is_part;      /* it went with the image that was told of before */
    const char *image; /* "registry/repository:tag" or "registry/repository" if it was one, or "" */
};

/* What is to go beside what the limits want: until at most bytes are taken (room_taken), as far as
 * that goes. bytes less than 0: as if the limits had been passed just now. visit (may be NULL) is
 * called for each thing that goes. is_dry: nothing goes, but is told, save for content on its way
 * in; in one transaction. */
struct evict_order {
    int64_t bytes;
    bool is_dry;
    void (*visit)(const struct evicted *gone, void *cls);
    void *cls;
    /* private, zeroed */
    bool has_begun;
    int64_t left;
    unsigned fruitless;
};
/* One slice of it, or all if it is dry: 1 there is more to do, 0 done, -1. */
int evict_some(struct evict *v, struct evict_order *o, struct error *e);

#endif
