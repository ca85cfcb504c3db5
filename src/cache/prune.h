/* SPDX-License-Identifier: Apache-2.0
 * What goes when only a given set is to stay: tags, what repositories hold, then blobs that nobody
 * holds. What is pinned, and what it is made of, is in every set. The set is told first; it lives
 * in memory, beside the index. The thread of the index or the reader; one at a time for each. */
#ifndef CACHE_PRUNE_H
#define CACHE_PRUNE_H

#include <stdbool.h>
#include <stdint.h>

#include "oci/digest.h"

struct error;
struct index;
struct index_reader;
struct prune;
struct store;

struct pruned {
    uint64_t tags, blobs, bytes;
};

struct prune *prune_open(struct index *x, struct error *e);
/* Only to look: beside whoever owns the data folder. */
struct prune *prune_open_beside(struct index_reader *r, struct error *e);
void prune_close(struct prune *p); /* NULL is fine */

/* --- the set: 0 or -1 ------------------------------------------------------------------------- */
/* A manifest and all that it names but its subject. */
int prune_want(struct prune *p, const char *registry, const char *repository,
               const struct digest *d, struct error *e);
int prune_want_tag(struct prune *p, const char *registry, const char *repository, const char *tag,
                   struct error *e);
/* Content that stays whoever holds it. */
int prune_want_blob(struct prune *p, const struct digest *d, struct error *e);
/* It is told. Counts what is outside of it; visit (may be NULL) is called for each tag,
 * "registry/repository:tag". */
int prune_look(struct prune *p, void (*visit)(const char *image, void *cls), void *cls,
               struct pruned *out, struct error *e);

/* --- going: after prune_look, not beside ------------------------------------------------------ */
/* Tags and what repositories hold, in the caller's transaction. What comes after it, comes. */
int prune_names(struct prune *p, struct error *e);
/* One slice of blobs, in a transaction of its own; gone (may be NULL) is called for each. 1: there
 * may be more, 0: that was all, -1. */
int prune_step(struct prune *p, struct store *s, void (*gone)(void *cls, const struct digest *d),
               void *cls, struct error *e);

#endif
