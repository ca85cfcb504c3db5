/* SPDX-License-Identifier: Apache-2.0
 * Very many digests with nothing between them: 32 MB for a million. Sorted they are in the order of
 * the index's rows. */
#ifndef CACHE_PILE_H
#define CACHE_PILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/digest.h"

struct pile { /* {0} is empty */
    struct {
        uint8_t *bytes;
        size_t count, room;
    } of[DIGEST_SHA512 + 1]; /* by algorithm */
};

void pile_fini(struct pile *p); /* empty again */
void pile_add(struct pile *p, const struct digest *d);
void pile_sort(struct pile *p);
bool pile_get(const struct pile *p, size_t i, struct digest *out); /* false: there are no more */
/* The order of a sorted pile, as memcmp tells it. */
int pile_compare(const struct digest *a, const struct digest *b);
#define autopile __attribute__((cleanup(pile_fini)))

#endif
