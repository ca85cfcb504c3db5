/* SPDX-License-Identifier: Apache-2.0
 * Only the whole has a digest. So a suspect's bytes are replaced, the others' are left: if the
 * digest is right then, he lied; if the origin's bytes differ from his, that tells it at once. What
 * a reader was given is never replaced. Who tells the truth costs his bytes once more, at most. */
#include "fetch/proof.h"

#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "cache/flow.h"
#include "fetch/fill.h"
#include "fetch/standing.h"

enum {
    ROUNDS_MAX = 8,
    HELD_MAX_BYTES = 64 << 20, /* of a main transfer; then streaming matters more, */
    HELD_MAX_MS = 10000,       /* and so it does after that time */
    COMPARED_BYTES = 64 << 10,
};

static int index_of(const struct fill *p, const struct source *s)
{
    return (int)(s - p->upstream->sources);
}

static bool is_origin(const struct fill *p, int who)
{
    return who < PROOF_EARLIER && &p->upstream->sources[who] == upstream_origin(p->upstream);
}

/* Of the sources, without what an earlier flow left. */
static uint32_t contributors(const struct fill *p)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < p->upstream->source_count; i++)
        bits |= p->proof.by[i].count > 0 ? 1u << i : 0;
    return bits;
}

void proof_init(struct fill *p)
{
    p->proof.suspect = PLAN_NOBODY;
}

void proof_fini(struct fill *p)
{
    for (size_t i = 0; i <= PROOF_EARLIER; i++)
        segments_fini(&p->proof.by[i]);
    segments_fini(&p->proof.dropped);
}

void proof_begin(struct fill *p)
{
    uint64_t at = 0, hole, length, size = p->plan.size;
    p->proof.began_ms = clock_mono_ms();
    while (flow_present(p->flow) > 0 && at < size) {
        bool is_more = flow_hole(p->flow, at, &hole, &length);
        uint64_t end = is_more ? hole : size;
        if (end > at)
            segments_add(&p->proof.by[PROOF_EARLIER], at, end);
        if (!is_more || length == UINT64_MAX)
            return;
        at = hole + length;
    }
}

/* --- while it comes --------------------------------------------------------------------------- */

bool proof_is_given(const struct fill *p, const struct source *s, bool is_part)
{
    return s == upstream_origin(p->upstream) || (is_part ? s->has_part_proof : s->has_whole_proof);
}

static void trust(struct fill *p, int who)
{
    const struct segments *its = &p->proof.by[who];
    p->proof.held &= ~(1u << who);
    for (size_t i = 0; i < its->count; i++)
        flow_trust(p->flow, its->parts[i].first, its->parts[i].end);
}

static bool is_to_be_held(struct fill *p, const struct source *s, bool is_lane, uint64_t offset)
{
    struct proof *x = &p->proof;
    if (proof_is_given(p, s, is_lane || p->is_part))
        return false;
    if (is_lane)
        return true;
    x->is_released |= offset >= HELD_MAX_BYTES || clock_mono_ms() - x->began_ms >= HELD_MAX_MS;
    return !x->is_released;
}

static void set_aside(struct fill *p, int who, bool is_sole)
{
    p->proof.liars |= 1u << who;
    p->avoid |= 1u << who;
    standing_blame(p->upstream, &p->upstream->sources[who], is_sole, p->repository, p->digest);
}

/* What the suspect had sent is in the file until it is overwritten. */
static bool is_other_than_before(const struct fill *p, uint64_t offset, const char *bytes,
                                 size_t length)
{
    char before[COMPARED_BYTES];
    while (length > 0) {
        uint64_t at = segments_next(&p->proof.dropped, offset);
        if (at >= offset + length)
            return false;
        uint64_t n = segments_from(&p->proof.dropped, at), skip = at - offset;
        n = n < length - skip ? n : length - skip;
        n = n < sizeof before ? n : sizeof before;
        ssize_t got = file_read_some(flow_fd(p->flow), before, (size_t)n, at, NULL);
        if (got <= 0 || memcmp(before, bytes + skip, (size_t)got) != 0)
            return got > 0;
        bytes += skip + (uint64_t)got;
        offset += skip + (uint64_t)got;
        length -= (size_t)(skip + (uint64_t)got);
    }
    return false;
}

static void compare(struct fill *p, const struct source *s, uint64_t offset, const void *bytes,
                    size_t length)
{
    struct proof *x = &p->proof;
    if (x->suspect == PLAN_NOBODY || x->has_differed || !is_origin(p, index_of(p, s)) ||
        !is_other_than_before(p, offset, bytes, length))
        return;
    x->has_differed = true;
    x->shy = 0; /* it is known who lied: the others may help */
    if (x->suspect < PROOF_EARLIER && !(x->liars & (1u << x->suspect)))
        set_aside(p, x->suspect, true);
}

/* A source without ranges sends what others have brought as well. */
static void note(struct fill *p, int who, bool is_overlapping, uint64_t offset, size_t length)
{
    uint64_t end = offset + length, hole, missing;
    if (!is_overlapping)
        segments_add(&p->proof.by[who], offset, end);
    else
        while (flow_hole(p->flow, offset, &hole, &missing) && hole < end) {
            offset = missing < end - hole ? hole + missing : end;
            segments_add(&p->proof.by[who], hole, offset);
        }
}

void proof_take(struct fill *p, const struct source *s, bool is_lane, uint64_t offset,
                const void *bytes, size_t length)
{
    struct proof *x = &p->proof;
    int who = index_of(p, s);
    uint32_t bit = 1u << who;
    bool is_part = is_lane || p->is_part;
    compare(p, s, offset, bytes, length);
    note(p, who, !is_lane && p->main.is_fixed, offset, length);
    if (is_part)
        x->part |= bit;
    else
        x->whole |= bit;
    if (!fill_is_pool(p))
        return;
    if (is_to_be_held(p, s, is_lane, offset)) {
        x->held |= bit;
        flow_doubt(p->flow, offset, offset + length);
    } else if (x->held & bit) {
        trust(p, who);
    }
}

/* --- the end ---------------------------------------------------------------------------------- */

void proof_forget(struct fill *p)
{
    for (size_t i = 0; i <= PROOF_EARLIER; i++)
        p->proof.by[i].count = 0;
    p->proof.whole = p->proof.part = p->proof.held = 0;
}

bool proof_relax(struct fill *p)
{
    struct proof *x = &p->proof;
    uint32_t own = x->suspect == PLAN_NOBODY || x->suspect == PROOF_EARLIER ? 0 : 1u << x->suspect;
    bool is_news = (x->shy & ~own) != 0;
    x->shy &= own;
    return is_news;
}

/* The lower, the sooner it is suspected. */
static unsigned rank_of(const struct fill *p, int who)
{
    const struct proof *x = &p->proof;
    if (who == PROOF_EARLIER)
        return 0;
    if (is_origin(p, who))
        return 3;
    const struct source *s = &p->upstream->sources[who];
    bool is_proven = (!(x->whole & (1u << who)) || s->has_whole_proof) &&
                     (!(x->part & (1u << who)) || s->has_part_proof);
    return is_proven ? 2 : 1;
}

/* Of the most suspicious, who brought least: the truth about him is the cheapest. */
static int next_suspect(const struct fill *p)
{
    int best = PLAN_NOBODY;
    for (int i = 0; i <= PROOF_EARLIER; i++) {
        const struct segments *its = &p->proof.by[i];
        if (its->count == 0 || (p->proof.tried & (1ull << i)))
            continue;
        unsigned rank = rank_of(p, i), other = best < 0 ? 0 : rank_of(p, best);
        if (best < 0 || rank < other ||
            (rank == other && segments_sum(its) < segments_sum(&p->proof.by[best])))
            best = i;
    }
    return best;
}

static bool has_others(const struct fill *p, uint32_t than)
{
    const struct upstream *u = p->upstream;
    uint32_t all = u->source_count < 32 ? (1u << u->source_count) - 1 : UINT32_MAX;
    return (all & ~(than | p->avoid)) != 0;
}

/* Who may bring the suspect's bytes: nobody of whom it is not known whether he lied too. */
static bool choose_shy(struct fill *p, int suspect)
{
    struct proof *x = &p->proof;
    uint32_t own = suspect == PROOF_EARLIER ? 0 : 1u << suspect;
    uint32_t origin = fill_bit_of(p, upstream_origin(p->upstream));
    x->shy = own | (x->liars ? 0 : contributors(p) & ~(origin | x->cleared));
    if (!has_others(p, x->shy))
        x->shy = own;
    if (!has_others(p, x->shy))
        x->shy = 0;
    return x->shy != 0 || own == 0 || !fill_is_pool(p);
}

bool proof_repair(struct fill *p)
{
    struct proof *x = &p->proof;
    int who = x->suspect;
    if (who >= 0 && who < PROOF_EARLIER && !x->has_differed)
        x->cleared |= 1u << who;
    x->suspect = PLAN_NOBODY;
    while (x->rounds < ROUNDS_MAX && (who = next_suspect(p)) != PLAN_NOBODY) {
        x->tried |= 1ull << who;
        bool is_sole =
            who < PROOF_EARLIER && contributors(p) == 1u << who && x->by[PROOF_EARLIER].count == 0;
        bool is_all = is_sole || contributors(p) == 0;
        uint64_t bytes = segments_sum(&x->by[who]);
        if (!choose_shy(p, who) || !(is_all ? fill_restart(p) : flow_drop(p->flow, &x->by[who])))
            continue;
        segments_fini(&x->dropped);
        x->dropped = x->by[who];
        x->by[who] = (struct segments){0};
        x->suspect = who;
        x->has_differed = false;
        x->rounds++;
        if (is_sole && fill_is_pool(p))
            set_aside(p, who, true);
        log_event(
            LOG_LEVEL_WARNING, "wrong bytes, asking others for a part",
            LOG_S("repository", p->repository), LOG_S("digest", p->digest),
            LOG_S("of", who == PROOF_EARLIER ? "an earlier run" : p->upstream->sources[who].url),
            LOG_I("bytes", bytes), LOG_END);
        return true;
    }
    return false;
}

void proof_right(struct fill *p)
{
    struct proof *x = &p->proof;
    struct upstream *u = p->upstream;
    bool is_liar = fill_is_pool(p) && x->suspect >= 0 && x->suspect < PROOF_EARLIER;
    if (x->suspect != PLAN_NOBODY)
        metric_add(upstream_corrupt_total, 1);
    if (is_liar && !(x->liars & (1u << x->suspect)))
        set_aside(p, x->suspect, true);
    for (size_t i = 0; i < u->source_count; i++) {
        uint32_t bit = 1u << i;
        if (x->by[i].count == 0 || (x->liars & bit))
            continue;
        u->sources[i].has_whole_proof |= (x->whole & bit) != 0;
        u->sources[i].has_part_proof |= (x->part & bit) != 0;
    }
}

void proof_wrong(struct fill *p)
{
    uint32_t left = contributors(p) & ~p->proof.liars;
    bool is_sole = (left & (left - 1)) == 0 && p->proof.by[PROOF_EARLIER].count == 0;
    for (int i = 0; i < (int)p->upstream->source_count; i++)
        if (left & (1u << i))
            set_aside(p, i, is_sole);
}
