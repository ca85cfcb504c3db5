/* SPDX-License-Identifier: Apache-2.0
 * Makes files and rows agree: a file without a row gets one, a row without a file goes. By names
 * alone: nothing is hashed but what is parsed, so that a million blobs take about a second when
 * nothing differs. What differs is put right in steps, between which the writer does its other
 * work. Used by index_open.c; the writer's thread only. */
#ifndef CACHE_AGREE_H
#define CACHE_AGREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agree;
struct digest;
struct error;
struct index;
struct manifest;
struct store;

struct agree_result {
    size_t adopted;   /* files that had no row */
    size_t manifests; /* of those, manifests */
    size_t lost;      /* rows that had no file */
};

/* Lists and compares, and changes nothing yet. What blobs take (room.h) is from here on what files
 * with a row take; the others are counted in the first steps. NULL: failed. */
struct agree *agree_begin(struct store *s, struct index *x, struct error *e);
void agree_free(struct agree *a); /* NULL is fine */
/* The next few, in one transaction: 1 there are more, 0 all is done, -1 failed, and nothing of this
 * step is done. */
int agree_step(struct agree *a, struct error *e);
struct agree_result agree_result(const struct agree *a); /* so far */

/* A manifest by its form, of the size that the file has: false if it is none, has not that digest,
 * or cannot be read. */
bool agree_read_manifest(int fd, const struct digest *d, uint64_t size_bytes, struct manifest *m);

#endif
