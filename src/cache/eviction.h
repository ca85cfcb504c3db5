/* SPDX-License-Identifier: Apache-2.0
 * Eviction on demand: from a request in JSON to an order for evict.h, and from what went to a
 * report in JSON. Request: {"budget": BYTES} (absent: what the limits say), {"is_dry_run": true}.
 * Report: "is_dry_run", "freed", "blobs", "partial", and "images": "image", "digest", and "size",
 * that of what went with it. Many images are told by their count alone ("more_images"). */
#ifndef CACHE_EVICTION_H
#define CACHE_EVICTION_H

#include "cache/evict.h"
#include "cache/keep.h"

/* One that is under way. */
struct eviction {
    struct evict_order order; /* its cls is this */
    struct str images;        /* the rest is private */
    int64_t freed_bytes, blobs, partial, image_count;
    char *image; /* of which the parts are still going; NULL: none */
    struct digest digest;
    int64_t image_bytes;
};

/* 0 or -1; eviction_fini after either. It must not move once it has begun. */
int eviction_init(struct eviction *v, struct slice request, struct error *e);
void eviction_report(struct eviction *v, struct str *report);
void eviction_fini(struct eviction *v);

/* All of it at once: a keep_work for who holds the folder. */
int eviction_here(const struct keep *k, struct slice request, struct str *report, struct error *e);

#endif
