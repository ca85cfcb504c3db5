/* SPDX-License-Identifier: Apache-2.0
 * Held content ready to be served: small in memory, large as a read-only mapping of its file (never
 * truncated, only unlinked, so a mapping stays good after eviction). The kernel may send from a
 * mapping; who touches it in this process dies of SIGBUS where the disk cannot read, and therefore
 * reads the file (mirror_open_file). Counted, immutable, any thread. */
#ifndef MIRROR_CONTENT_H
#define MIRROR_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "oci/digest.h"
#include "oci/manifest.h"

struct error;
struct store;

struct content {
    struct digest digest;
    char media_type[MEDIA_TYPE_MAX + 1]; /* of a manifest; "" for what is only known as a blob */
    const char *bytes;
    uint64_t size_bytes;
    /* private */
    unsigned references;
    unsigned readers;    /* atomic */
    int64_t used_min;    /* atomic: the minute in which the ledger was told of its last use */
    bool is_unstored;    /* atomic: the disk did not take it; known_use tries again */
    int64_t hits;        /* atomic: of a manifest, how often it was given that nobody noted yet */
    size_t mapped_bytes; /* 0: bytes is allocated */
};

/* A copy of bytes in memory. */
struct content *content_new(const struct digest *d, const char *media_type, const void *bytes,
                            size_t length);
/* From the store. 1 found (*out has one reference), 0 not held, -1 failed; what is small enough to
 * be read is hashed as well (ERR_CORRUPT). Waits for the page cache at most. */
int content_open(struct store *s, const struct digest *d, const char *media_type,
                 struct content **out, struct error *e);
struct content *content_ref(struct content *c);
void content_unref(struct content *c);
AUTO_UNREF(content, content_unref)
bool content_is_mapped(const struct content *c);
/* While it is being sent to somebody: a reference that counts as a reader, too. */
struct content *content_read(struct content *c);
void content_end_read(struct content *c);
bool content_is_read(const struct content *c);
size_t content_cost(const struct content *c); /* bytes of memory it weighs in a bounded cache */

#endif
