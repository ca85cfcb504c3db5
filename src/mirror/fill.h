/* SPDX-License-Identifier: Apache-2.0
 * Filling the flow of a blob that is not held: what it needs is reserved, its bytes are pulled, and
 * the ledger makes it durable; where nothing more fits it passes unstored. Inside of mirror/. */
#ifndef MIRROR_FILL_H
#define MIRROR_FILL_H

#include <stdbool.h>
#include <stdint.h>

struct digest;
struct flow;
struct mirror;
struct upstream;

/* The flow of a blob that is not held, joined or begun and being filled; a reference. ended: of
 * flights_ended, read before looking what is held; NULL: look again. Any thread. */
struct flow *fill_join(struct mirror *m, struct upstream *u, const char *repository,
                       const struct digest *d, int64_t size_bytes, uint64_t ended, bool *joined);

#endif
