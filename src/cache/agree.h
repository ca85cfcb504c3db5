/* SPDX-License-Identifier: Apache-2.0
 * Makes files and rows agree. At start: by names alone, so that a million blobs take about a second
 * when nothing differs. Used by index_open; the writer's thread only. */
#ifndef CACHE_AGREE_H
#define CACHE_AGREE_H

#include <stddef.h>
#include <stdint.h>

struct error;
struct index;
struct sql;
struct store;

struct agree_result {
    size_t adopted;   /* files that had no row */
    size_t manifests; /* of those, manifests */
    size_t lost;      /* rows that had no file */
    int64_t bytes;    /* that all files take */
};

/* One pass over both in byte order, then one transaction with what differs. w is the writer's
 * handle of x. */
int agree_by_name(struct store *s, struct index *x, struct sql *w, struct agree_result *out,
                  struct error *e);

#endif
