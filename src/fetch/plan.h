/* SPDX-License-Identifier: Apache-2.0
 * Which transfer of a blob brings which part of it, and from whom the next one comes. Pure: it
 * knows neither files nor the network nor the time; what is missing is told by whoever holds the
 * bytes. No byte is in the parts of two transfers, but for one that cannot be shortened: that
 * brings what others bring as well. Inside of fetch/. */
#ifndef FETCH_PLAN_H
#define FETCH_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLAN_PARTS_MAX = 32, PLAN_NOBODY = -1 };

/* What one transfer has still before it: [at, end). Embedded in the transfer, which moves `at`. */
struct part {
    uint64_t at;        /* the next byte that it expects */
    uint64_t end;       /* may come nearer, and go back again as far as asked_end */
    uint64_t asked_end; /* of its request; UINT64_MAX: to the end of the blob, wherever that is */
    int source;         /* PLAN_NOBODY: not known yet */
    bool is_fixed;      /* it cannot be shortened: its source knows no ranges */
};

struct plan {
    /* The first hole at or after from, as flow_hole tells it. */
    bool (*hole)(void *cls, uint64_t from, uint64_t *at, uint64_t *length);
    void *cls;
    uint64_t size; /* UINT64_MAX: not known */
    struct part *parts[PLAN_PARTS_MAX];
    size_t count;
};

void plan_add(struct plan *p, struct part *part);
/* No effect if it is not in there. Those that were cut short on behalf of it go on over what it
 * leaves, as far as they were asked to. */
void plan_remove(struct plan *p, struct part *part);
/* Where a part ends that begins there: at bytes that are present, or that somebody is at. */
uint64_t plan_end(const struct plan *p, uint64_t from);
/* The first part that is missing and that nobody is about to bring. */
bool plan_gap(const struct plan *p, uint64_t *first, uint64_t *end);
/* The far half of the largest part that somebody has before him, taken from him; none if the halves
 * would be smaller than least. */
bool plan_split(struct plan *p, uint64_t least, uint64_t *first, uint64_t *end);
/* A gap, else a half. */
bool plan_next(struct plan *p, uint64_t least, uint64_t *first, uint64_t *end);
/* Takes the part that begins there from whoever has it, unless it is there already or its bearer
 * is no more than near bytes away from it. */
bool plan_take(struct plan *p, uint64_t first, uint64_t near, uint64_t *end);
/* Of those in order (indices of sources), the first of those with the fewest parts, fewer than
 * most; PLAN_NOBODY: there is none. */
int plan_source(const struct plan *p, const int *order, size_t count, unsigned most);

#endif
