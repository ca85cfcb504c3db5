/* SPDX-License-Identifier: Apache-2.0
 * What store.c and store_list.c share. Inside of cache/. */
#ifndef CACHE_STORE_INSIDE_H
#define CACHE_STORE_INSIDE_H

#include <stdatomic.h>

#include "cache/store.h"
#include "oci/digest.h"

/* Arrays are indexed by enum digest_algorithm; 0 stays unused. */
#define ALGORITHMS (DIGEST_SHA512 + 1)
#define NAME_BYTES 192 /* "sha512-" + 128 + ".map", or with ".<serial>.new" */

struct store {
    char *path;
    int folder;
    int ingest;
    int blobs[ALGORITHMS];
    _Atomic bool is_dirty[ALGORITHMS]; /* names changed since the last fsync of that folder */
    _Atomic bool is_ingest_dirty;
    _Atomic unsigned serial; /* makes the names of temporaries differ */
    struct room *room;
};

extern const char *const store_algorithm_folders[ALGORITHMS];

/* "<algorithm>-<hex><suffix>", the name under ingest/. */
const char *store_partial_name(const struct digest *d, const char *suffix, char out[NAME_BYTES]);
/* The map alone, whose data is gone. */
void store_partial_remove_map(struct store *s, const struct digest *d);

#endif
