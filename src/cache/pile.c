/* SPDX-License-Identifier: Apache-2.0
 * One run of bytes an algorithm: a struct digest would take twice as much. */
#include "cache/pile.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static size_t each_bytes(int algorithm)
{
    const struct digest any = {.algorithm = (uint8_t)algorithm};
    return digest_bytes(&any);
}

void pile_fini(struct pile *p)
{
    for (int i = DIGEST_SHA256; i <= DIGEST_SHA512; i++)
        free(p->of[i].bytes);
    *p = (struct pile){0};
}

void pile_add(struct pile *p, const struct digest *d)
{
    size_t each = digest_bytes(d), *room = &p->of[d->algorithm].room;
    if (p->of[d->algorithm].count == *room) {
        *room = *room ? *room * 2 : 1024;
        p->of[d->algorithm].bytes = alloc_grow(p->of[d->algorithm].bytes, *room, each);
    }
    memcpy(p->of[d->algorithm].bytes + p->of[d->algorithm].count++ * each, d->bytes, each);
}

static int compare_32(const void *a, const void *b)
{
    return memcmp(a, b, 32);
}

static int compare_64(const void *a, const void *b)
{
    return memcmp(a, b, 64);
}

void pile_sort(struct pile *p)
{
    for (int i = DIGEST_SHA256; i <= DIGEST_SHA512; i++)
        if (p->of[i].count)
            qsort(p->of[i].bytes, p->of[i].count, each_bytes(i),
                  i == DIGEST_SHA256 ? compare_32 : compare_64);
}

bool pile_get(const struct pile *p, size_t i, struct digest *out)
{
    size_t first = p->of[DIGEST_SHA256].count;
    int algorithm = i < first ? DIGEST_SHA256 : DIGEST_SHA512;
    if (algorithm == DIGEST_SHA512)
        i -= first;
    if (i >= p->of[algorithm].count)
        return false;
    *out = (struct digest){.algorithm = (uint8_t)algorithm};
    memcpy(out->bytes, p->of[algorithm].bytes + i * each_bytes(algorithm), each_bytes(algorithm));
    return true;
}

int pile_compare(const struct digest *a, const struct digest *b)
{
    return memcmp(a, b, sizeof *a);
}
