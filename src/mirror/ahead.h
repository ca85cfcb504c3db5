/* SPDX-License-Identifier: Apache-2.0
 * Ahead of the client: who took an image's manifest will ask for its config and its layers, so they
 * begin to come. Bounded in number and bytes, and below everything that a client waits for: when
 * transfers wait for their turn, a source limits us or the disk is full, what nobody has asked for
 * yet is dropped; its partial file is kept and goes on when it is asked for. */
#ifndef MIRROR_AHEAD_H
#define MIRROR_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "oci/digest.h"

struct ahead;
struct content;
struct mirror;
struct upstream;

struct ahead_options {
    bool is_on;
    unsigned flows; /* coming at once */
    uint64_t bytes; /* of what is coming, or has come, and was not asked for yet */
};

/* Borrows the mirror. */
struct ahead *ahead_new(const struct ahead_options *o, struct mirror *m);
void ahead_free(struct ahead *a); /* after the fetcher ended */

/* A client was given that manifest. Fetch thread. */
void ahead_manifest(struct ahead *a, struct upstream *u, const char *repository,
                    const struct content *manifest);
/* A client asks for that blob. Any thread; free of locks for what did not come ahead. */
void ahead_asked(struct ahead *a, const struct digest *d);

#endif
