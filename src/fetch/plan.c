/* SPDX-License-Identifier: Apache-2.0
 * Parts are few (PLAN_PARTS_MAX) and looked at a few times a second: all is linear. */
#include "fetch/plan.h"

#include <assert.h>

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool is_running(const struct part *x)
{
    return x->at < x->end;
}

void plan_add(struct plan *p, struct part *part)
{
    assert(p->count < PLAN_PARTS_MAX);
    p->parts[p->count++] = part;
}

/* Takes back what was given away and is nobody's now. An end at the end of the blob stays open, so
 * that a source which sends more is found out. */
static void extend(const struct plan *p, struct part *x)
{
    uint64_t end = lesser(plan_end(p, x->at), x->asked_end);
    if (x->is_fixed || !is_running(x) || end <= x->end)
        return;
    x->end = end == p->size ? x->asked_end : end;
}

void plan_remove(struct plan *p, struct part *part)
{
    size_t i = 0;
    while (i < p->count && p->parts[i] != part)
        i++;
    if (i == p->count)
        return;
    p->parts[i] = p->parts[--p->count];
    for (i = 0; i < p->count; i++)
        extend(p, p->parts[i]);
}

uint64_t plan_end(const struct plan *p, uint64_t from)
{
    uint64_t at, length, end = from;
    if (p->hole(p->cls, from, &at, &length) && at == from)
        end = length == UINT64_MAX ? UINT64_MAX : from + length;
    for (size_t i = 0; i < p->count; i++) {
        const struct part *x = p->parts[i];
        if (is_running(x) && x->at >= from && x->at < end)
            end = x->at == from ? end : x->at;
    }
    return end;
}

bool plan_gap(const struct plan *p, uint64_t *first, uint64_t *end)
{
    uint64_t at = 0, length;
    while (p->hole(p->cls, at, &at, &length)) {
        uint64_t claimed = at;
        for (size_t i = 0; i < p->count; i++)
            if (p->parts[i]->at <= at && p->parts[i]->end > claimed)
                claimed = p->parts[i]->end;
        if (claimed == at) {
            *first = at;
            *end = plan_end(p, at);
            return true;
        }
        if (claimed >= p->size)
            return false;
        at = claimed;
    }
    return false;
}

static uint64_t left_of(const struct plan *p, const struct part *x)
{
    uint64_t end = lesser(x->end, p->size);
    return x->is_fixed || end == UINT64_MAX || x->at >= end ? 0 : end - x->at;
}

bool plan_split(struct plan *p, uint64_t least, uint64_t *first, uint64_t *end)
{
    struct part *of = NULL;
    uint64_t most = 0;
    for (size_t i = 0; i < p->count; i++) {
        uint64_t left = left_of(p, p->parts[i]);
        if (left > most) {
            of = p->parts[i];
            most = left;
        }
    }
    if (!of || most < 2 * least || most < 2)
        return false;
    *first = of->at + most / 2;
    *end = of->at + most;
    of->end = *first;
    return true;
}

bool plan_next(struct plan *p, uint64_t least, uint64_t *first, uint64_t *end)
{
    return plan_gap(p, first, end) || plan_split(p, least, first, end);
}

bool plan_take(struct plan *p, uint64_t first, uint64_t near, uint64_t *end)
{
    uint64_t until = plan_end(p, first);
    if (until == first)
        return false;
    for (size_t i = 0; i < p->count; i++) {
        struct part *x = p->parts[i];
        if (first < x->at || first >= x->end)
            continue;
        if (x->is_fixed || first - x->at <= near)
            return false;
        until = lesser(until, lesser(x->end, p->size));
        x->end = first;
    }
    *end = until;
    return true;
}

static unsigned transfers_of(const struct plan *p, int source)
{
    unsigned count = 0;
    for (size_t i = 0; i < p->count; i++)
        count += p->parts[i]->source == source;
    return count;
}

int plan_source(const struct plan *p, const int *order, size_t count, unsigned most)
{
    int best = PLAN_NOBODY;
    for (size_t i = 0; i < count; i++) {
        unsigned has = transfers_of(p, order[i]);
        if (has < most) {
            best = order[i];
            most = has;
        }
    }
    return best;
}
