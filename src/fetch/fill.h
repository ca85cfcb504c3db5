/* SPDX-License-Identifier: Apache-2.0
 * What the files of a filling share: fill.c has its life and its main transfer, widen.c those that
 * join it, proof.c who brought what and what is right of it. Begun by pull_blob. Fetch thread only.
 * Inside of fetch/. */
#ifndef FETCH_FILL_H
#define FETCH_FILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fetch/fetcher.h"
#include "fetch/plan.h"
#include "fetch/proof.h"
#include "fetch/widen.h"
#include "oci/digest.h"

struct error;
struct flow;
struct race;
struct source;
struct upstream;

struct fill {
    LIST_ENTRY(fill) next; /* of the fetcher's */
    struct fetcher *fetcher;
    struct upstream *upstream;
    char *repository, *path;
    char digest[DIGEST_TEXT_MAX];
    struct flow *flow;
    void (*done)(void *cls, const struct error *why);
    void *cls;
    struct plan plan;  /* the main transfer's part, while it is under way, and those of the lanes */
    struct timer step; /* the next thing to do */
    struct timer flush; /* wakes readers */
    uint32_t avoid;     /* bits of the sources that are not asked again for it */

    /* the main transfer */
    struct race *race;
    struct source *source;   /* whose bytes come; NULL: nobody's yet */
    struct source *sized_by; /* who stated the size that no manifest promised */
    struct part main;        /* `at` is where the next body byte belongs */
    uint64_t skip;           /* bytes to pass over: a source without ranges sends from 0 */
    uint64_t received;
    uint64_t paced; /* received at the last look */
    struct timer pace;
    bool is_part;                 /* it comes in a range, not as a whole body */
    bool has_size;                /* some answer stated it */
    bool is_promised;             /* its size was known before */
    bool is_doubtful;             /* sources contradict each other about its size */
    bool progressed, is_answered; /* is_answered: an answer came to its end */
    unsigned failures;

    struct lanes lanes;
    struct proof proof;
};

bool fill_is_pool(const struct fill *p);
uint32_t fill_bit_of(const struct fill *p, const struct source *s);
/* Bits of the sources that are not to be asked now. */
uint32_t fill_avoid(const struct fill *p);
/* Bytes of that source at their place: 0, or -1 if they cannot be there. is_lane: not from the main
 * transfer. */
int fill_take(struct fill *p, const struct source *s, bool is_lane, uint64_t offset,
              const void *bytes, size_t length, struct error *e);
/* Throws away all that came, and a size that was only stated, unless somebody has read of it. */
bool fill_restart(struct fill *p);
/* As long as nothing came within that time, a transfer stands still. */
int64_t fill_pace_ms(const struct fill *p);

#endif
