/* SPDX-License-Identifier: Apache-2.0
 * The lanes of a filling: when another transfer joins the main one, from which source, and what
 * becomes of its part when it ends. Fetch thread only. Inside of fetch/. */
#ifndef FETCH_WIDEN_H
#define FETCH_WIDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetch/fetcher.h"
#include "fetch/plan.h"

struct fill;
struct lane;

struct lanes {
    struct lane *all[PLAN_PARTS_MAX];
    uint64_t seen[PLAN_PARTS_MAX];    /* what each had received when it last moved, */
    int64_t moved_ms[PLAN_PARTS_MAX]; /* and when that was */
    size_t count;
    struct timer look;
    uint64_t received;                   /* by those that are over */
    uint64_t rated;                      /* received by all at the last look */
    int64_t rated_ms, rate, rate_before; /* bytes a second now, and before the newest lane came */
    struct lane *newest;                 /* on trial */
    unsigned trial;                      /* looks at it since it came, or since it gives */
    bool gives;                          /* at the last look */
    unsigned owed;                       /* lanes that are done and could go on elsewhere */
    bool is_full;                        /* the last lane was of no use: the line is full */
    uint32_t single;                     /* bits of the sources that will have one transfer only */
};

void widen_init(struct fill *p);
/* The size is known: from now on it is looked, ten times a second, whether another lane is worth
 * it. */
void widen_begin(struct fill *p);
/* Lanes that are done go on with what is left. */
void widen_go_on(struct fill *p);
void widen_drop(struct fill *p); /* all lanes */
void widen_end(struct fill *p);
/* The size below which halves of a part are not handed over. */
uint64_t widen_least(const struct fill *p);

#endif
