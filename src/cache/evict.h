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
    void (*spared)(void *cls, const struct digest *d);  /* its next use should be told at once */
    void (*gone)(void *cls, const struct digest *d);    /* drop it: the disk's space is wanted */
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
    const char *image; /* "registry/repository:tag" or "registry/repository" if it was one, or "" */
};
/* Until at most bytes are taken (room_taken), as far as that goes, slice after slice. is_dry:
 * nothing goes, but is told, save for content on its way in, in one transaction. 0, or -1. */
int evict_down_to(struct evict *v, int64_t bytes, bool is_dry,
                  void (*visit)(const struct evicted *gone, void *cls), void *cls, struct error *e);

#endif
