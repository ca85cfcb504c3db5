/* SPDX-License-Identifier: Apache-2.0
 * Open addressing over an array in the order of adding. */
#include "oci/digests.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/alloc.h"

static size_t slot_of(const struct digests *s, const struct digest *d)
{
    uint64_t h = s->seed ^ UINT64_C(14695981039346656037); /* FNV-1a */
    size_t n = digest_bytes(d);
    for (size_t i = 0; i < n; i++)
        h = (h ^ d->bytes[i]) * UINT64_C(1099511628211);
    size_t at = (size_t)(h ^ h >> 32) & (s->slot_count - 1);
    while (s->slots[at] && !digest_equals(&s->items[s->slots[at] - 1], d))
        at = (at + 1) & (s->slot_count - 1);
    return at;
}

static void grow(struct digests *s)
{
    if (!s->seed && getrandom(&s->seed, sizeof s->seed, GRND_NONBLOCK) != sizeof s->seed)
        s->seed = 1;
    free(s->slots);
    s->slot_count = s->slot_count ? s->slot_count * 2 : 64;
    s->slots = alloc_array(s->slot_count, sizeof *s->slots);
    for (size_t i = 0; i < s->count; i++)
        s->slots[slot_of(s, &s->items[i])] = (uint32_t)(i + 1);
}

bool digests_add(struct digests *s, const struct digest *d, size_t *number)
{
    if (s->count * 2 >= s->slot_count)
        grow(s);
    size_t slot = slot_of(s, d);
    bool is_new = s->slots[slot] == 0;
    if (is_new) {
        if (s->count == s->room) {
            s->room = s->room ? s->room * 2 : 32;
            s->items = alloc_grow(s->items, s->room, sizeof *s->items);
        }
        s->items[s->count++] = *d;
        s->slots[slot] = (uint32_t)s->count;
    }
    if (number)
        *number = s->slots[slot] - 1;
    return is_new;
}

size_t digests_find(const struct digests *s, const struct digest *d)
{
    uint32_t found = s->count ? s->slots[slot_of(s, d)] : 0;
    return found ? found - 1 : DIGESTS_NONE;
}

bool digests_has(const struct digests *s, const struct digest *d)
{
    return digests_find(s, d) != DIGESTS_NONE;
}

void digests_fini(struct digests *s)
{
    free(s->items);
    free(s->slots);
    *s = (struct digests){0};
}
