/* SPDX-License-Identifier: Apache-2.0
 * Lanes come one by one, for as long as each makes the whole faster; a lane that fails blames
 * nobody, its source merely gets no other one of this blob. */
#include "fetch/widen.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "cache/flow.h"
#include "fetch/fill.h"
#include "fetch/lane.h"
#include "upstream/upstream.h"

enum {
    LOOK_MS = 100,          /* how often another lane is thought of */
    TRIAL_LOOKS = 3,        /* a lane that gives has so long to make the whole faster */
    WORTH_MS = 500,         /* of time that is left at the present rate */
    SINGLE_MS = 10 * 60000, /* a source that refused a lane is asked for no other */
};

/* Less is not worth one more transfer. */
static uint64_t piece_bytes(const struct fill *p)
{
    return fetcher_get_options(p->fetcher)->piece_bytes;
}

uint64_t widen_least(const struct fill *p)
{
    return piece_bytes(p) / 2; /* a lane that is done has its connection already */
}

static bool is_allowed(const struct fill *p)
{
    const struct fetcher_options *o = fetcher_get_options(p->fetcher);
    return p->upstream->is_accelerated && o->max_per_blob > 1 &&
           (o->max_per_source > 1 || fill_is_pool(p));
}

/* --- lanes ------------------------------------------------------------------------------------ */

/* Bits of the sources whose last lane has brought nothing yet: they may refuse it. */
static uint32_t silent(const struct fill *p)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < p->lanes.count; i++)
        if (lane_received(p->lanes.all[i]) == 0)
            bits |= fill_bit_of(p, lane_source(p->lanes.all[i]));
    return bits;
}

/* Who has the fewest of this blob's transfers, fewer than most, and is not in without; NULL:
 * nobody. is_proven: only of those whose bytes a reader is given at once. */
static struct source *source_for_lane(const struct fill *p, unsigned most, bool is_proven,
                                      uint32_t without)
{
    struct upstream *u = p->upstream;
    const struct health *all[SOURCES_MAX];
    size_t order[SOURCES_MAX], fit_count = 0;
    int fit[SOURCES_MAX];
    int64_t now_ms = clock_mono_ms();
    for (size_t i = 0; i < u->source_count; i++)
        all[i] = &u->sources[i].health;
    size_t count = health_order(all, u->source_count, p->repository, p->digest, now_ms, order);
    for (size_t i = 0; i < count; i++) {
        const struct source *s = &u->sources[order[i]];
        if (health_is_usable(&s->health, now_ms) && now_ms >= s->single_until_ms &&
            !((fill_avoid(p) | p->lanes.single | without) & fill_bit_of(p, s)) &&
            (!is_proven || proof_is_given(p, s, true)))
            fit[fit_count++] = (int)order[i];
    }
    int found = plan_source(&p->plan, fit, fit_count, most);
    return found == PLAN_NOBODY ? NULL : &u->sources[found];
}

static void remove_lane(struct fill *p, size_t i)
{
    struct lanes *all = &p->lanes;
    struct lane *l = all->all[i];
    if (all->newest == l)
        all->newest = NULL;
    all->received += lane_received(l);
    all->count--;
    all->all[i] = all->all[all->count];
    all->seen[i] = all->seen[all->count];
    all->moved_ms[i] = all->moved_ms[all->count];
    plan_remove(&p->plan, lane_part(l));
    fetcher_set_timer(p->fetcher, &p->step, 0);
}

static int lane_bytes(void *cls, const struct lane *l, uint64_t offset, const void *bytes,
                      size_t length, struct error *e)
{
    return fill_take(cls, lane_source(l), true, offset, bytes, length, e);
}

static void lane_done(void *cls, struct lane *l, bool is_refused, const struct error *why)
{
    struct fill *p = cls;
    struct source *s = lane_source(l);
    if (!why) {
        p->lanes.owed++;
    } else {
        p->lanes.single |= fill_bit_of(p, s);
        if (is_refused)
            s->single_until_ms = clock_mono_ms() + SINGLE_MS;
        log_event(LOG_LEVEL_DEBUG, "a lane ended early", LOG_S("upstream", s->url),
                  LOG_S("repository", p->repository), LOG_S("error", why->text), LOG_END);
    }
    for (size_t i = 0; i < p->lanes.count; i++)
        if (p->lanes.all[i] == l) {
            remove_lane(p, i);
            return;
        }
}

static bool has_room(const struct fill *p)
{
    return p->plan.count < fetcher_get_options(p->fetcher)->max_per_blob &&
           !flow_is_passing(p->flow); /* what passes comes in order, so from one transfer */
}

static struct lane *start_lane(struct fill *p, struct source *s, uint64_t first, uint64_t end)
{
    const struct lane_request r = {.source = s,
                                   .source_index = (int)(s - p->upstream->sources),
                                   .repository = p->repository,
                                   .path = p->path,
                                   .first = first,
                                   .end = end,
                                   .size = p->plan.size,
                                   .on_bytes = lane_bytes,
                                   .on_done = lane_done,
                                   .cls = p};
    struct lane *l = lane_start(p->fetcher, &r);
    if (!l)
        return NULL;
    metric_add(upstream_lanes_total, 1);
    struct lanes *all = &p->lanes;
    plan_add(&p->plan, lane_part(l));
    all->all[all->count] = l;
    all->seen[all->count] = 0;
    all->moved_ms[all->count++] = clock_mono_ms();
    return l;
}

static struct lane *add_lane(struct fill *p, uint32_t without)
{
    uint64_t first, end;
    unsigned most = fetcher_get_options(p->fetcher)->max_per_source;
    struct source *s = source_for_lane(p, most, false, without);
    if (s && has_room(p) && plan_next(&p->plan, widen_least(p), &first, &end))
        return start_lane(p, s, first, end);
    return NULL;
}

/* --- ten times a second ----------------------------------------------------------------------- */

/* A reader waits for what nobody will bring soon: a lane begins there. It may be one more than a
 * source is given otherwise, for somebody waits. */
static void steer(struct fill *p)
{
    uint64_t wanted, end, near = piece_bytes(p);
    unsigned most = fetcher_get_options(p->fetcher)->max_per_source + 1;
    struct source *s = source_for_lane(p, most, true, 0);
    if (!s)
        s = source_for_lane(p, most, false, 0);
    if (p->lanes.rate > 0 && (uint64_t)p->lanes.rate / 4 < near)
        near = (uint64_t)p->lanes.rate / 4;
    for (uint64_t after = 0; flow_wanted(p->flow, after, &wanted); after = wanted) {
        if (!s || !has_room(p))
            return;
        if (plan_take(&p->plan, wanted, near, &end)) {
            start_lane(p, s, wanted, end);
            return;
        }
    }
}

/* A lane that stands still gives its part back. */
static void drop_stalled(struct fill *p, int64_t now_ms)
{
    struct lanes *all = &p->lanes;
    for (size_t i = all->count; i-- > 0;) {
        struct lane *l = all->all[i];
        if (lane_received(l) != all->seen[i]) {
            all->seen[i] = lane_received(l);
            all->moved_ms[i] = now_ms;
        } else if (now_ms - all->moved_ms[i] > fill_pace_ms(p)) {
            all->single |= fill_bit_of(p, lane_source(l));
            remove_lane(p, i);
            lane_cancel(l);
        }
    }
}

static void measure(struct fill *p, int64_t now_ms)
{
    struct lanes *all = &p->lanes;
    uint64_t received = p->received + all->received;
    for (size_t i = 0; i < all->count; i++)
        received += lane_received(all->all[i]);
    all->rate = all->rated_ms > 0 && now_ms > all->rated_ms
                    ? (int64_t)(received - all->rated) * 1000 / (now_ms - all->rated_ms)
                    : 0;
    all->rated = received;
    all->rated_ms = now_ms;
}

static void drop_lane(struct fill *p, struct lane *l)
{
    size_t i = 0;
    while (p->lanes.all[i] != l)
        i++;
    remove_lane(p, i);
    lane_cancel(l);
}

/* The newest lane is on trial until it made the whole faster by a tenth. If it does not, the line
 * is full: the lane goes, for what comes out of order is hashed late. One that gives nothing yet
 * says nothing of the line, and others need not wait for it. */
static void judge(struct fill *p)
{
    struct lanes *all = &p->lanes;
    if (!all->newest)
        return;
    bool gives = lane_received(all->newest) > 0;
    all->trial = gives == all->gives ? all->trial + 1 : 1;
    all->gives = gives;
    bool is_over = all->trial >= TRIAL_LOOKS;
    bool is_worth_it = gives && all->rate >= all->rate_before / 10 * 11;
    if (is_over && gives && !is_worth_it) {
        all->is_full = true;
        drop_lane(p, all->newest);
    } else if (is_over || is_worth_it) {
        all->newest = NULL;
    }
}

static bool is_worth_a_lane(const struct fill *p)
{
    if (!p->race || !p->source || p->lanes.is_full || p->lanes.rate <= 0 ||
        !flow_is_followed(p->flow))
        return false;
    uint64_t left = p->plan.size - flow_present(p->flow);
    return left >= 2 * piece_bytes(p) && left / (uint64_t)p->lanes.rate * 1000 >= WORTH_MS;
}

static void look(struct timer *t)
{
    struct fill *p = (struct fill *)((char *)t - offsetof(struct fill, lanes.look));
    int64_t now_ms = clock_mono_ms();
    measure(p, now_ms);
    judge(p);
    drop_stalled(p, now_ms);
    if (fetcher_get_options(p->fetcher)->max_per_source > 1)
        steer(p);
    if (is_worth_a_lane(p) && !p->lanes.newest) {
        p->lanes.rate_before = p->lanes.rate;
        p->lanes.newest = add_lane(p, silent(p));
        p->lanes.trial = 0;
        p->lanes.gives = false;
    }
    fetcher_set_timer(p->fetcher, t, LOOK_MS);
}

/* --- for fill.c ------------------------------------------------------------------------------- */

void widen_init(struct fill *p)
{
    p->lanes.look.run = look;
}

void widen_begin(struct fill *p)
{
    if (p->lanes.rated_ms > 0 || !is_allowed(p) || p->plan.size < 2 * piece_bytes(p))
        return;
    p->lanes.rated_ms = clock_mono_ms();
    fetcher_set_timer(p->fetcher, &p->lanes.look, LOOK_MS);
}

void widen_go_on(struct fill *p)
{
    for (; p->lanes.owed > 0; p->lanes.owed--)
        add_lane(p, 0);
}

void widen_drop(struct fill *p)
{
    while (p->lanes.count > 0) {
        struct lane *l = p->lanes.all[0];
        remove_lane(p, 0);
        lane_cancel(l);
    }
    p->lanes.owed = 0;
}

void widen_end(struct fill *p)
{
    for (size_t i = 0; i < p->lanes.count; i++)
        lane_cancel(p->lanes.all[i]);
    p->lanes.count = 0;
    fetcher_clear_timer(p->fetcher, &p->lanes.look);
}
