/* SPDX-License-Identifier: Apache-2.0
 * A set of digests that remembers their order: each has a number, from 0. Pure, one thread. */
#ifndef OCI_DIGESTS_H
#define OCI_DIGESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/digest.h"

#define DIGESTS_NONE SIZE_MAX

struct digests { /* zeroed is empty */
    struct digest *items;
    size_t count, room;
    uint32_t *slots; /* 1 + number, or 0: a power of two of them, at most half full */
    size_t slot_count;
    uint64_t seed; /* so that nobody can choose digests that collide */
};

/* true if it is new; *number in either case (may be NULL). */
bool digests_add(struct digests *s, const struct digest *d, size_t *number);
size_t digests_find(const struct digests *s, const struct digest *d); /* or DIGESTS_NONE */
bool digests_has(const struct digests *s, const struct digest *d);
void digests_fini(struct digests *s);
#define autodigests __attribute__((cleanup(digests_fini)))

#endif
