/* SPDX-License-Identifier: Apache-2.0
 * What of a filling is right, and who is to be believed. It remembers which source brought which
 * bytes; holds back from readers what comes from a mirror of which nothing was proven yet; and if
 * the whole turns out wrong, has the bytes of one source after another brought by others, until it
 * is right: then it is known who lied. Fetch thread only. Inside of fetch/. */
#ifndef FETCH_PROOF_H
#define FETCH_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/segments.h"
#include "upstream/upstream.h"

enum { PROOF_EARLIER = SOURCES_MAX }; /* what an earlier flow left, beside the sources */

struct fill;

struct proof {
    struct segments by[PROOF_EARLIER + 1]; /* who brought which bytes */
    uint32_t whole, part;                  /* bits: who brought some in whole bodies, in ranges */
    uint32_t held;                         /* bits: whose bytes are held back */
    bool is_released;                      /* those of the main transfer no longer */
    int64_t began_ms;
    /* in search of a liar */
    int suspect;             /* whose bytes others bring again; PLAN_NOBODY */
    struct segments dropped; /* those bytes */
    bool has_differed;       /* from what the origin sends */
    uint64_t tried;          /* bits: who was the suspect */
    uint32_t shy;            /* bits: who is not to bring bytes meanwhile */
    uint32_t cleared, liars; /* bits: who was found right, wrong */
    unsigned rounds;
};

void proof_init(struct fill *p);
void proof_fini(struct fill *p);
/* The flow was opened. */
void proof_begin(struct fill *p);
/* Bytes that are about to be written; is_lane: by another transfer than the main one. */
void proof_take(struct fill *p, const struct source *s, bool is_lane, uint64_t offset,
                const void *bytes, size_t length);
/* Of ranges if is_part, else of whole bodies: the origin always, a mirror once something of it was
 * right. */
bool proof_is_given(const struct fill *p, const struct source *s, bool is_part);
/* Nothing that came is left. */
void proof_forget(struct fill *p);
/* Nobody who is left can or will bring what is missing: true if others may be asked after all. */
bool proof_relax(struct fill *p);
/* The whole is wrong. true: somebody's bytes were thrown away and are to be brought by others. */
bool proof_repair(struct fill *p);
/* The whole is right: who helped is believed, who was replaced is set aside. */
void proof_right(struct fill *p);
/* It is wrong, and nothing can be done about it: whoever may have lied is set aside. */
void proof_wrong(struct fill *p);

#endif
