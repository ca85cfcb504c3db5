/* SPDX-License-Identifier: Apache-2.0
 * Filling a flow from a registry's sources. The main transfer, a race over all of them, begins at
 * the first byte that is missing; if it breaks, stalls or crawls it goes on at the offset it
 * reached, from whoever is best then, a few times without progress. While a blob takes long, lanes
 * join it (widen.c). Wrong bytes set aside who had a part in them; they fail the flow unless nobody
 * has read them yet. */
#include "fetch/fill.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/str.h"
#include "cache/flow.h"
#include "fetch/inside.h"
#include "fetch/pull.h"
#include "fetch/race.h"
#include "fetch/standing.h"
#include "fetch/transfer.h"
#include "upstream/upstream.h"

enum {
    TRIES_WITHOUT_PROGRESS = 4,
    TRIES_OF_A_POOL = 2,          /* each asks all its sources */
    PACE_MS = 5000,               /* or the stall time-out: over which the floor is averaged */
    FLOOR_BYTES_PER_S = 20 << 10, /* below which another source is better */
    UNSIZED_MAX_BYTES =
        128 << 20, /* of a blob whose size neither a manifest nor the answer states */
    CATCH_UP_SLICE =
        8 << 20, /* hashed between two rounds of the fetch thread: a few milliseconds */
};

static void blob_end(struct fill *p, const struct error *why)
{
    struct error e = {0};
    if (why) {
        e = *why;
        if (p->is_doubtful)
            e.kind = ERR_CORRUPT; /* what is here may be of the wrong size: none of it is kept */
        flow_fail(p->flow, &e);
    }
    LIST_REMOVE(p, next);
    widen_end(p);
    proof_fini(p);
    fetcher_clear_timer(p->fetcher, &p->pace);
    fetcher_clear_timer(p->fetcher, &p->step);
    fetcher_clear_timer(p->fetcher, &p->flush);
    p->done(p->cls, why ? &e : NULL);
    flow_unref(p->flow);
    free(p->repository);
    free(p->path);
    free(p);
}

bool fill_is_pool(const struct fill *p)
{
    return p->upstream->source_count > 1;
}

static const char *asked(const struct fill *p)
{
    return p->source ? p->source->url : upstream_origin(p->upstream)->url;
}

uint32_t fill_bit_of(const struct fill *p, const struct source *s)
{
    return 1u << (s - p->upstream->sources);
}

/* Without a promise, who stated the size first is as doubtful as who contradicts. */
static int contradicted(struct fill *p, struct source *s, struct error *e)
{
    if (fill_is_pool(p) && !p->is_promised && p->sized_by && p->sized_by != s) {
        standing_blame(p->upstream, p->sized_by, true, p->repository, p->digest);
        p->is_doubtful = true;
        e->kind = ERR_UPSTREAM;
    }
    return error_prefix(e, "%s", s->url);
}

/* The size that an answer tells, UINT64_MAX: none. -1 if it is not the answer that was asked for.
 */
static int read_head(struct fill *p, const struct source *s, const struct head *head,
                     uint64_t *size, struct error *e)
{
    const struct content_range *r = &head->content_range;
    p->skip = 0;
    p->main.is_fixed = false;
    if (head->status != 206) {
        p->skip = p->main.at;
        p->main.is_fixed = p->main.at > 0;
        *size = head->content_length < 0 ? UINT64_MAX : (uint64_t)head->content_length;
        return 0;
    }
    if (!head->has_content_range || r->is_unsatisfied || r->first != p->main.at ||
        r->total == UINT64_MAX ||
        r->last + 1 != (p->main.asked_end == UINT64_MAX ? r->total : p->main.asked_end))
        return error_set(e, ERR_UPSTREAM, "%s answered another range than was asked", s->url);
    *size = r->total;
    return 0;
}

static int blob_head(void *cls, struct source *s, const struct head *head, struct error *e)
{
    struct fill *p = cls;
    uint64_t size = UINT64_MAX;
    if (read_head(p, s, head, &size, e) < 0)
        return -1;
    if (size != UINT64_MAX && flow_set_size(p->flow, size, e) < 0)
        return contradicted(p, s, e);
    p->source = s;
    p->is_part = head->status == 206;
    p->main.source = (int)(s - p->upstream->sources);
    if (p->main.is_fixed)
        p->main.end = UINT64_MAX;
    if (size == UINT64_MAX)
        return 0; /* chunked: the end of the body will tell */
    if (!p->sized_by)
        p->sized_by = s;
    p->has_size = true;
    p->plan.size = size;
    widen_begin(p);
    return 0;
}

int64_t fill_pace_ms(const struct fill *p)
{
    int64_t stall_ms = fetcher_get_options(p->fetcher)->stall_timeout_ms;
    return stall_ms < PACE_MS ? stall_ms : PACE_MS;
}

static void set_flush(struct fill *p)
{
    int wait_ms = flow_flush(p->flow);
    if (wait_ms >= 0)
        fetcher_set_timer(p->fetcher, &p->flush, wait_ms);
}

uint32_t fill_avoid(const struct fill *p)
{
    return p->avoid | p->proof.shy;
}

int fill_take(struct fill *p, const struct source *s, bool is_lane, uint64_t offset,
              const void *bytes, size_t length, struct error *e)
{
    proof_take(p, s, is_lane, offset, bytes, length);
    int result = flow_write(p->flow, offset, bytes, length, e);
    set_flush(p);
    if (flow_is_passing(p->flow) && p->lanes.count > 0)
        fetcher_set_timer(p->fetcher, &p->step, 0); /* they cannot go on */
    return result;
}

static int blob_body(void *cls, const void *bytes, size_t length, struct error *e)
{
    struct fill *p = cls;
    int room = flow_has_room(p->flow, length, e);
    if (room <= 0)
        return room < 0 ? -1 : 1;
    p->received += length;
    if (p->skip > 0) {
        size_t n = p->skip < length ? (size_t)p->skip : length;
        p->skip -= n;
        bytes = (const char *)bytes + n;
        length -= n;
    }
    if (length == 0)
        return 0;
    if (p->main.at + length > UNSIZED_MAX_BYTES && !p->has_size)
        return error_set(e, ERR_CORRUPT, "%s states no size and sends more than %d bytes", asked(p),
                         UNSIZED_MAX_BYTES);
    if (!p->main.is_fixed && length > p->main.end - p->main.at) {
        length = (size_t)(p->main.end - p->main.at);
        fetcher_set_timer(p->fetcher, &p->step, 0); /* others have the rest */
    }
    if (fill_take(p, p->source, false, p->main.at, bytes, length, e) < 0)
        return -1;
    p->main.at += length;
    p->progressed = true;
    return 0;
}

/* --- the main transfer ------------------------------------------------------------------------ */

static bool has_alternative(const struct fill *p)
{
    return standing_has_alternative(p->upstream, p->repository, p->digest, p->source,
                                    fill_avoid(p));
}

bool fill_restart(struct fill *p)
{
    if (!flow_restart(p->flow))
        return false;
    proof_forget(p);
    p->plan.size = flow_known_size(p->flow);
    return true;
}

/* The main transfer's race is over. */
static void leave_plan(struct fill *p)
{
    p->race = NULL;
    plan_remove(&p->plan, &p->main);
    fetcher_clear_timer(p->fetcher, &p->pace);
}

static bool is_worth_another_try(struct fill *p, const struct error *why)
{
    if (p->progressed)
        p->failures = 0;
    if (fetcher_is_stopping(p->fetcher) ||
        ++p->failures >= (fill_is_pool(p) && !p->source ? TRIES_OF_A_POOL : TRIES_WITHOUT_PROGRESS))
        return false;
    switch (why->kind) {
    case ERR_UPSTREAM: /* who stumbles may be waited for, but of who is gone the client hears */
        return why->upstream_status >= 500 || flow_present(p->flow) > 0 || p->failures <= 1;
    case ERR_TIMEOUT: /* before the first byte a client waits for the sum of all tries: one must do
                       */
        return flow_present(p->flow) > 0;
    case ERR_CORRUPT: /* more than the whole: whether its part of it was right, the digest tells */
        if (!p->source || !has_alternative(p))
            return false;
        p->avoid |= fill_bit_of(p, p->source);
        fill_restart(p);
        return true;
    default:
        return false;
    }
}

/* An answer that came to its end and yet lacks something. */
static const struct error *too_little(struct fill *p, struct error *e, const char *than)
{
    error_set(e, ERR_UPSTREAM, "%s sent less than %s", asked(p), than);
    if (p->source)
        standing_fail(p->upstream, p->source, HEALTH_ERROR, e->text);
    return e;
}

static void blob_answered(void *cls, struct source *source, const struct head *head,
                          const struct str *body, const struct error *why)
{
    struct fill *p = cls;
    struct error none;
    (void)source;
    (void)head;
    (void)body;
    leave_plan(p);
    if (why && why->kind == ERR_NO_SPACE) { /* it passes now, and this was not its next byte */
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    if (!why && p->skip > 0)
        why = too_little(p, &none, "was already here");
    uint64_t size, hole, length;
    if (!why && flow_size(p->flow, &size)) {
        if (p->main.at < (p->main.end < size ? p->main.end : size))
            why = too_little(p, &none, "the whole");
    } else if (!why && flow_hole(p->flow, 0, &hole, &length) && length != UINT64_MAX) {
        why = too_little(p, &none, "the whole");
        fill_restart(p); /* it never stated a size: whatever that was, it was no blob */
    }
    if (!why) {
        p->is_answered = true;
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    if (why->kind == ERR_RANGE_INVALID && fill_restart(p)) {
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    if (!is_worth_another_try(p, why) && !proof_relax(p)) {
        if (p->lanes.count == 0)
            blob_end(p, why);
        return; /* or what becomes of the lanes decides */
    }
    log_event(LOG_LEVEL_WARNING, "transfer broke, going on", LOG_S("upstream", asked(p)),
              LOG_S("repository", p->repository), LOG_I("offset", p->main.at),
              LOG_S("error", why->text), LOG_END);
    fetcher_set_timer(p->fetcher, &p->step, p->failures <= 1 ? 0 : 250 << p->failures);
}

static void set_pace(struct fill *p)
{
    p->paced = p->received;
    fetcher_set_timer(p->fetcher, &p->pace, fill_pace_ms(p));
}

/* Drops a source that crawls, if there is a better one to go on with. */
static void pace(struct timer *t)
{
    struct fill *p = (struct fill *)((char *)t - offsetof(struct fill, pace));
    int64_t floor = FLOOR_BYTES_PER_S * fill_pace_ms(p) / 1000;
    bool is_slow = (int64_t)(p->received - p->paced) < floor;
    if (!p->source || !is_slow || !has_alternative(p) || flow_is_passing(p->flow)) {
        set_pace(p);
        return;
    }
    log_event(LOG_LEVEL_WARNING, "transfer too slow, going on elsewhere",
              LOG_S("upstream", asked(p)), LOG_S("repository", p->repository),
              LOG_I("offset", p->main.at), LOG_END);
    struct race *race = p->race;
    leave_plan(p);
    race_give_up(race);
    fetcher_set_timer(p->fetcher, &p->step, 0);
}

/* end: of the part; UINT64_MAX, or the size: to the end of the blob, whatever that is. */
static void blob_ask(struct fill *p, uint64_t offset, uint64_t end)
{
    bool is_to_the_end = end == flow_known_size(p->flow) || end == UINT64_MAX;
    p->main = (struct part){.at = offset,
                            .end = is_to_the_end ? UINT64_MAX : end,
                            .asked_end = is_to_the_end ? UINT64_MAX : end,
                            .source = PLAN_NOBODY,
                            .is_fixed = true}; /* until its answer tells */
    p->progressed = p->is_answered = false;
    p->source = NULL;
    plan_add(&p->plan, &p->main);
    const struct race_request r = {.upstream = p->upstream,
                                   .order = RACE_ANY,
                                   .repository = p->repository,
                                   .path = p->path,
                                   .accept = "*/*",
                                   .digest = p->digest,
                                   .has_range = offset > 0 || !is_to_the_end,
                                   .range_first = offset,
                                   .range_last = is_to_the_end ? UINT64_MAX : end - 1,
                                   .avoid = fill_avoid(p),
                                   .on_head = blob_head,
                                   .on_body = blob_body,
                                   .on_done = blob_answered,
                                   .cls = p};
    p->race = race_start(p->fetcher, &r);
    if (fill_is_pool(p))
        set_pace(p);
}

static void blob_finish(struct fill *p)
{
    struct error e = {0};
    if (flow_finish(p->flow, &e) == 0) {
        proof_right(p);
        blob_end(p, NULL);
        return;
    }
    if (e.kind != ERR_CORRUPT) {
        blob_end(p, &e);
        return;
    }
    if (proof_repair(p)) {
        p->is_answered = false;
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    proof_wrong(p);
    metric_add(upstream_corrupt_total, 1);
    log_event(LOG_LEVEL_ERROR, "upstream sent wrong bytes", LOG_S("upstream", asked(p)),
              LOG_S("repository", p->repository), LOG_S("digest", p->digest),
              LOG_S("error", e.text), LOG_END);
    error_prefix(&e, "%s sent wrong bytes for %s", asked(p), p->digest);
    blob_end(p, &e);
}

static void next_step(struct timer *t)
{
    struct fill *p = (struct fill *)((char *)t - offsetof(struct fill, step));
    uint64_t offset = 0, length = 0, end = UINT64_MAX;
    if (flow_is_passing(p->flow))
        widen_drop(p);
    if (p->race && (p->main.at < p->main.end || p->main.is_fixed)) {
        widen_go_on(p);
        return;
    }
    if (p->race) {
        struct race *race = p->race;
        leave_plan(p);
        race_leave(race);
    }
    bool is_missing = flow_hole(p->flow, 0, &offset, &length);
    bool is_open_ended =
        length == UINT64_MAX; /* no size was stated: the end of the answer is the end */
    if (is_missing && p->lanes.count > 0) {
        if (plan_next(&p->plan, widen_least(p), &offset, &end))
            blob_ask(p, offset, end);
        return; /* who is still at it will call again */
    }
    bool is_to_be_asked = is_missing && !(is_open_ended && p->is_answered);
    bool is_hashed_first = !is_to_be_asked || flow_is_passing(p->flow); /* and then as it comes */
    bool is_behind = is_hashed_first && flow_hash_rest(p->flow, CATCH_UP_SLICE);
    if (is_to_be_asked && !is_behind)
        blob_ask(p, offset, plan_end(&p->plan, offset));
    else if (is_behind)
        fetcher_set_timer(p->fetcher, &p->step, 0);
    else
        blob_finish(p);
}

static void flush(struct timer *t)
{
    struct fill *p = (struct fill *)((char *)t - offsetof(struct fill, flush));
    set_flush(p);
}

static void open_flow(struct timer *t)
{
    struct fill *p = (struct fill *)((char *)t - offsetof(struct fill, step));
    flow_open(p->flow);
    flow_hash_beside(p->flow, fetcher_get_options(p->fetcher)->hashing);
    uint64_t offset, length = 0;
    p->plan.size = flow_known_size(p->flow);
    proof_begin(p);
    p->is_promised = !flow_hole(p->flow, 0, &offset, &length) || length != UINT64_MAX;
    p->step.run = next_step;
    next_step(&p->step);
}

static bool hole(void *cls, uint64_t from, uint64_t *at, uint64_t *length)
{
    return flow_hole(cls, from, at, length);
}

void pull_blob(struct fetcher *f, struct upstream *u, const char *repository, struct flow *flow,
               void (*done)(void *cls, const struct error *why), void *cls)
{
    struct fill *p = alloc_zero(sizeof *p);
    p->fetcher = f;
    p->upstream = u;
    p->repository = alloc_string(repository);
    p->path =
        alloc_format("/v2/%s/blobs/%s", repository, digest_print(flow_digest(flow), p->digest));
    p->flow = flow_ref(flow);
    p->plan = (struct plan){.hole = hole, .cls = flow, .size = UINT64_MAX};
    p->done = done;
    p->cls = cls;
    p->step.run = open_flow;
    p->pace.run = pace;
    p->flush.run = flush;
    widen_init(p);
    proof_init(p);
    LIST_INSERT_HEAD(&f->fills, p, next);
    fetcher_set_timer(f, &p->step, 0);
}

void pull_abandon(struct fetcher *f, const struct flow *flow, const struct error *why)
{
    struct fill *p;
    LIST_FOREACH(p, &f->fills, next)
    if (p->flow == flow)
        break;
    if (!p)
        return;
    if (p->race) {
        struct race *race = p->race;
        leave_plan(p);
        race_leave(race);
    }
    blob_end(p, why);
}
