/* SPDX-License-Identifier: Apache-2.0
 * Filling a flow from a registry's sources. The main transfer, a race over all of them, begins at
 * the first byte that is missing; if it breaks, stalls or crawls it goes on at the offset it
 * reached, from whoever is best then, a few times without progress. While a blob takes long, lanes
 * join it: each takes half of the largest part that somebody has still before him, and who is done
 * takes half of what is left. Wrong bytes set aside who had a part in them; they fail the flow
 * unless nobody has read them yet. */
#include "fetch/pull.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/str.h"
#include "cache/flow.h"
#include "fetch/fetcher.h"
#include "fetch/lane.h"
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
        8 << 20,           /* hashed between two rounds of the fetch thread: a few milliseconds */
    LANES_MAX = 7,         /* beside the main transfer */
    PIECE_BYTES = 4 << 20, /* less is not worth one more transfer, */
    HANDOVER_BYTES = 2 << 20, /* nor a new request of one that is done */
    WIDEN_MS = 100,           /* how often another lane is thought of */
    WORTH_MS = 500,           /* of time that is left at the present rate */
    SINGLE_MS = 10 * 60000,   /* a source that refused a lane is asked for no other */
};

struct blob_pull {
    struct fetcher *fetcher;
    struct upstream *upstream;
    char *repository;
    struct flow *flow;
    void (*done)(void *cls, const struct error *why);
    void *cls;
    struct race *race;
    struct source *source;   /* whose bytes come; NULL: nobody's yet */
    struct source *sized_by; /* who stated the size that no manifest promised */
    uint32_t contributors;   /* bits of the sources whose bytes are here */
    uint32_t avoid;          /* of those that are not asked again for it */
    uint64_t paced;          /* received at the last look */
    uint64_t received;
    struct timer pace;
    struct timer step;  /* the next thing to do */
    struct timer flush; /* wakes readers */
    struct timer widen;
    struct lane *lanes[LANES_MAX];
    uint64_t seen[LANES_MAX];    /* what each had received when it last moved, */
    int64_t moved_ms[LANES_MAX]; /* and when that was */
    size_t lane_count;
    uint64_t from_lanes;                 /* received by those that are over */
    uint64_t rated;                      /* received by all at the last look */
    int64_t rated_ms, rate, rate_before; /* bytes a second now, and before the last lane came */
    unsigned lane_age;                   /* looks since then */
    unsigned owed;                       /* lanes that are done and could go on elsewhere */
    bool is_wide;                        /* the last lane was of no use: the line is full */
    uint32_t single;                     /* bits of the sources that will have one transfer only */
    uint64_t limit;      /* where the main transfer's part ends; UINT64_MAX: with the blob */
    uint64_t asked_last; /* of its Range; 0: open-ended */
    bool takes_all;      /* its source knows no ranges and sends everything */
    uint64_t offset;     /* where the next body byte belongs */
    uint64_t skip;       /* bytes to pass over: a source without ranges sends from 0 */
    bool has_size;       /* some answer stated it */
    bool is_promised;    /* its size was known before */
    bool had_leftover;   /* bytes of an earlier flow */
    bool is_doubtful;    /* sources contradict each other about its size */
    bool progressed, refetched, is_answered; /* is_answered: an answer came to its end */
    unsigned failures;
};

static void next_step(struct timer *t);
static void flush(struct timer *t);

static void blob_end(struct blob_pull *p, const struct error *why)
{
    struct error e = {0};
    if (why) {
        e = *why;
        if (p->is_doubtful)
            e.kind = ERR_CORRUPT; /* what is here may be of the wrong size: none of it is kept */
        flow_fail(p->flow, &e);
    }
    for (size_t i = 0; i < p->lane_count; i++)
        lane_cancel(p->lanes[i]);
    fetcher_clear_timer(p->fetcher, &p->pace);
    fetcher_clear_timer(p->fetcher, &p->step);
    fetcher_clear_timer(p->fetcher, &p->flush);
    fetcher_clear_timer(p->fetcher, &p->widen);
    p->done(p->cls, why ? &e : NULL);
    flow_unref(p->flow);
    free(p->repository);
    free(p);
}

static bool is_pool(const struct blob_pull *p)
{
    return p->upstream->source_count > 1;
}

static const char *asked(const struct blob_pull *p)
{
    return p->source ? p->source->url : upstream_origin(p->upstream)->url;
}

static uint32_t bit_of(const struct blob_pull *p, const struct source *s)
{
    return 1u << (s - p->upstream->sources);
}

/* Without a promise, who stated the size first is as doubtful as who contradicts. */
static int contradicted(struct blob_pull *p, struct source *s, struct error *e)
{
    char digest[DIGEST_TEXT_MAX];
    if (is_pool(p) && !p->is_promised && p->sized_by && p->sized_by != s) {
        standing_blame(p->upstream, p->sized_by, true, p->repository,
                       digest_print(flow_digest(p->flow), digest));
        p->is_doubtful = true;
        e->kind = ERR_UPSTREAM;
    }
    return error_prefix(e, "%s", s->url);
}

static int blob_head(void *cls, struct source *s, const struct head *head, struct error *e)
{
    struct blob_pull *p = cls;
    uint64_t size;
    p->skip = 0;
    if (head->status == 206) {
        const struct content_range *r = &head->content_range;
        if (!head->has_content_range || r->is_unsatisfied || r->first != p->offset ||
            r->total == UINT64_MAX || r->last != (p->asked_last > 0 ? p->asked_last : r->total - 1))
            return error_set(e, ERR_UPSTREAM, "%s answered another range than was asked", s->url);
        size = r->total;
    } else {
        p->skip = p->offset;
        p->takes_all = p->offset > 0;
        if (head->content_length < 0) {
            p->source = s;
            return 0; /* chunked: the end of the body will tell */
        }
        size = (uint64_t)head->content_length;
    }
    if (flow_set_size(p->flow, size, e) < 0)
        return contradicted(p, s, e);
    if (!p->sized_by)
        p->sized_by = s;
    p->source = s;
    p->has_size = true;
    if ((fetcher_get_options(p->fetcher)->max_per_blob > 1 || is_pool(p)) &&
        size >= 2 * PIECE_BYTES && p->rated_ms == 0) {
        p->rated_ms = clock_mono_ms();
        fetcher_set_timer(p->fetcher, &p->widen, WIDEN_MS);
    }
    return 0;
}

static int64_t pace_ms(const struct blob_pull *p)
{
    int64_t stall_ms = fetcher_get_options(p->fetcher)->stall_timeout_ms;
    return stall_ms < PACE_MS ? stall_ms : PACE_MS;
}

static void set_flush(struct blob_pull *p)
{
    int wait_ms = flow_flush(p->flow);
    if (wait_ms >= 0)
        fetcher_set_timer(p->fetcher, &p->flush, wait_ms);
}

static int blob_body(void *cls, const void *bytes, size_t length, struct error *e)
{
    struct blob_pull *p = cls;
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
    if (p->offset + length > UNSIZED_MAX_BYTES && !p->has_size)
        return error_set(e, ERR_CORRUPT, "%s states no size and sends more than %d bytes", asked(p),
                         UNSIZED_MAX_BYTES);
    if (!p->takes_all && length > p->limit - p->offset) {
        length = (size_t)(p->limit - p->offset);
        fetcher_set_timer(p->fetcher, &p->step, 0); /* others have the rest */
    }
    if (flow_write(p->flow, p->offset, bytes, length, e) < 0)
        return -1;
    p->offset += length;
    p->contributors |= bit_of(p, p->source);
    p->progressed = true;
    set_flush(p);
    if (flow_is_passing(p->flow) && p->lane_count > 0)
        fetcher_set_timer(p->fetcher, &p->step, 0); /* they cannot go on */
    return 0;
}

/* --- lanes ------------------------------------------------------------------------------------ */

/* Where the part ends that begins here: where bytes are present, or somebody else has begun. */
static uint64_t part_end(const struct blob_pull *p, uint64_t from)
{
    uint64_t at, length, end = from;
    if (flow_hole(p->flow, from, &at, &length) && at == from)
        end = length == UINT64_MAX ? UINT64_MAX : from + length;
    for (size_t i = 0; i < p->lane_count; i++) {
        uint64_t first = lane_at(p->lanes[i]);
        if (first >= from && first < lane_end(p->lanes[i]) && first < end)
            end = first;
    }
    if (p->race && p->offset > from && p->offset < end)
        end = p->offset;
    return end;
}

/* The first part that is missing and that nobody is about to bring. */
static bool find_gap(const struct blob_pull *p, uint64_t *first, uint64_t *end)
{
    uint64_t at = 0, length;
    while (flow_hole(p->flow, at, &at, &length)) {
        uint64_t claimed = at;
        for (size_t i = 0; i < p->lane_count; i++)
            if (lane_at(p->lanes[i]) <= at && at < lane_end(p->lanes[i]))
                claimed = lane_end(p->lanes[i]);
        if (p->race && p->offset <= at && at < p->limit)
            claimed = p->limit;
        if (claimed == at) {
            *first = at;
            *end = part_end(p, at);
            return true;
        }
        if (claimed == UINT64_MAX)
            return false;
        at = claimed;
    }
    return false;
}

/* Half of the largest part that somebody has still before him, the far one. */
static bool split(struct blob_pull *p, uint64_t *first, uint64_t *end)
{
    struct lane *of = NULL;
    uint64_t size = 0, at = 0, most = 0;
    flow_size(p->flow, &size);
    uint64_t main_end = p->limit < size ? p->limit : size;
    if (p->race && p->source && !p->takes_all && p->offset < main_end) {
        at = p->offset;
        most = main_end - at;
    }
    for (size_t i = 0; i < p->lane_count; i++) {
        uint64_t left = lane_end(p->lanes[i]) - lane_at(p->lanes[i]);
        if (left > most) {
            of = p->lanes[i];
            at = lane_at(of);
            most = left;
        }
    }
    if (most < 2 * HANDOVER_BYTES)
        return false;
    *first = at + most / 2;
    *end = at + most;
    if (of)
        lane_shorten(of, *first);
    else
        p->limit = *first;
    return true;
}

static unsigned transfers_of(const struct blob_pull *p, const struct source *s)
{
    unsigned count = p->race && p->source == s;
    for (size_t i = 0; i < p->lane_count; i++)
        count += lane_source(p->lanes[i]) == s;
    return count;
}

/* Who has the fewest of this blob's transfers, fewer than most; NULL: nobody. */
static struct source *source_for_lane(const struct blob_pull *p, unsigned most)
{
    char digest[DIGEST_TEXT_MAX];
    struct upstream *u = p->upstream;
    const struct health *all[SOURCES_MAX];
    size_t order[SOURCES_MAX];
    int64_t now_ms = clock_mono_ms();
    unsigned least = most;
    struct source *best = NULL;
    if (flow_is_passing(p->flow))
        return NULL;
    for (size_t i = 0; i < u->source_count; i++)
        all[i] = &u->sources[i].health;
    size_t count = health_order(all, u->source_count, p->repository,
                                digest_print(flow_digest(p->flow), digest), now_ms, order);
    for (size_t i = 0; i < count; i++) {
        struct source *s = &u->sources[order[i]];
        bool is_fit = health_is_usable(&s->health, now_ms) && now_ms >= s->single_until_ms &&
                      !((p->avoid | p->single) & bit_of(p, s));
        if (is_fit && transfers_of(p, s) < least) {
            best = s;
            least = transfers_of(p, s);
        }
    }
    return best;
}

static void lane_news(void *cls)
{
    set_flush(cls);
}

static void lane_remove(struct blob_pull *p, size_t i)
{
    p->from_lanes += lane_received(p->lanes[i]);
    if (lane_received(p->lanes[i]) > 0)
        p->contributors |= bit_of(p, lane_source(p->lanes[i]));
    p->lane_count--;
    p->lanes[i] = p->lanes[p->lane_count];
    p->seen[i] = p->seen[p->lane_count];
    p->moved_ms[i] = p->moved_ms[p->lane_count];
    if (p->race && !p->takes_all)
        p->limit = p->asked_last > 0 ? p->asked_last + 1 : UINT64_MAX;
    uint64_t end = part_end(p, p->offset);
    if (p->race && !p->takes_all && end < p->limit)
        p->limit = end;
    fetcher_set_timer(p->fetcher, &p->step, 0);
}

static void lane_done(void *cls, struct lane *l, bool is_refused, const struct error *why)
{
    struct blob_pull *p = cls;
    struct source *s = lane_source(l);
    if (!why) {
        p->owed++;
    } else {
        p->single |= bit_of(p, s);
        if (is_refused)
            s->single_until_ms = clock_mono_ms() + SINGLE_MS;
        log_event(LOG_LEVEL_DEBUG, "a lane ended early", LOG_S("upstream", s->url),
                  LOG_S("error", why->text), LOG_END);
    }
    for (size_t i = 0; i < p->lane_count; i++)
        if (p->lanes[i] == l) {
            lane_remove(p, i);
            return;
        }
}

static void start_lane(struct blob_pull *p, struct source *s, uint64_t first, uint64_t end)
{
    char digest[DIGEST_TEXT_MAX];
    struct lane_request r = {.source = s,
                             .repository = p->repository,
                             .flow = p->flow,
                             .first = first,
                             .end = end,
                             .on_news = lane_news,
                             .on_done = lane_done,
                             .cls = p};
    autofree char *path =
        alloc_format("/v2/%s/blobs/%s", p->repository, digest_print(flow_digest(p->flow), digest));
    r.path = path;
    struct lane *l = lane_start(p->fetcher, &r);
    if (!l)
        return;
    metric_add(upstream_lanes_total, 1);
    p->lanes[p->lane_count] = l;
    p->seen[p->lane_count] = 0;
    p->moved_ms[p->lane_count++] = clock_mono_ms();
}

static void add_lane(struct blob_pull *p)
{
    uint64_t first, end;
    struct source *s = source_for_lane(p, fetcher_get_options(p->fetcher)->max_per_blob);
    if (s && p->lane_count < LANES_MAX && (find_gap(p, &first, &end) || split(p, &first, &end)))
        start_lane(p, s, first, end);
}

/* Takes the part that begins there from whoever has it, unless he is about to bring it. */
static bool take_from(struct blob_pull *p, uint64_t first, uint64_t near, uint64_t *end)
{
    uint64_t size = flow_known_size(p->flow), main_end = p->limit < size ? p->limit : size;
    for (size_t i = 0; i < p->lane_count; i++) {
        struct lane *l = p->lanes[i];
        if (first < lane_at(l) || first >= lane_end(l))
            continue;
        if (first - lane_at(l) <= near)
            return false;
        *end = lane_end(l);
        lane_shorten(l, first);
        return true;
    }
    if (p->race && p->offset <= first && first < main_end) {
        if (p->takes_all || first - p->offset <= near)
            return false;
        *end = main_end;
        p->limit = first;
        return true;
    }
    *end = part_end(p, first);
    return *end > first;
}

/* A reader waits for what nobody will bring soon: a lane begins there. It may be one more than a
 * source is given otherwise, for somebody waits. */
static void steer(struct blob_pull *p)
{
    uint64_t wanted, end, near = PIECE_BYTES;
    struct source *s = source_for_lane(p, fetcher_get_options(p->fetcher)->max_per_blob + 1);
    if (p->rate > 0 && (uint64_t)p->rate / 4 < near)
        near = (uint64_t)p->rate / 4;
    for (uint64_t after = 0; flow_wanted(p->flow, after, &wanted); after = wanted) {
        if (!s || p->lane_count == LANES_MAX)
            return;
        if (take_from(p, wanted, near, &end)) {
            start_lane(p, s, wanted, end);
            return;
        }
    }
}

/* A lane that stands still gives its part back. */
static void drop_stalled(struct blob_pull *p, int64_t now_ms)
{
    for (size_t i = p->lane_count; i-- > 0;) {
        struct lane *l = p->lanes[i];
        if (lane_received(l) != p->seen[i]) {
            p->seen[i] = lane_received(l);
            p->moved_ms[i] = now_ms;
        } else if (now_ms - p->moved_ms[i] > pace_ms(p)) {
            p->single |= bit_of(p, lane_source(l));
            lane_remove(p, i);
            lane_cancel(l);
        }
    }
}

static void measure(struct blob_pull *p, int64_t now_ms)
{
    uint64_t received = p->received + p->from_lanes;
    for (size_t i = 0; i < p->lane_count; i++)
        received += lane_received(p->lanes[i]);
    p->rate = p->rated_ms > 0 && now_ms > p->rated_ms
                  ? (int64_t)(received - p->rated) * 1000 / (now_ms - p->rated_ms)
                  : 0;
    p->rated = received;
    p->rated_ms = now_ms;
    if (p->lane_count > 0 && ++p->lane_age == 3 && p->rate < p->rate_before / 10 * 11)
        p->is_wide = true;
}

static bool is_worth_a_lane(struct blob_pull *p)
{
    uint64_t size;
    if (!p->race || !p->source || p->is_wide || p->rate <= 0 || !flow_size(p->flow, &size))
        return false;
    uint64_t left = size - flow_present(p->flow);
    return left >= 2 * PIECE_BYTES && left / (uint64_t)p->rate * 1000 >= WORTH_MS;
}

static void widen_by_one(struct blob_pull *p)
{
    size_t before = p->lane_count;
    add_lane(p);
    if (p->lane_count == before)
        return;
    p->rate_before = p->rate;
    p->lane_age = 0;
}

static void widen(struct timer *t)
{
    uint64_t size;
    struct blob_pull *p = (struct blob_pull *)((char *)t - offsetof(struct blob_pull, widen));
    int64_t now_ms = clock_mono_ms();
    measure(p, now_ms);
    drop_stalled(p, now_ms);
    if (fetcher_get_options(p->fetcher)->max_per_blob > 1 && flow_size(p->flow, &size))
        steer(p);
    if (is_worth_a_lane(p) && (p->lane_count == 0 || p->lane_age >= 1))
        widen_by_one(p);
    fetcher_set_timer(p->fetcher, t, WIDEN_MS);
}

/* --- the main transfer ------------------------------------------------------------------------ */

static bool has_alternative(const struct blob_pull *p)
{
    char digest[DIGEST_TEXT_MAX];
    return standing_has_alternative(p->upstream, p->repository,
                                    digest_print(flow_digest(p->flow), digest), p->source,
                                    p->avoid);
}

static bool is_worth_another_try(struct blob_pull *p, const struct error *why)
{
    if (p->progressed)
        p->failures = 0;
    if (fetcher_is_stopping(p->fetcher) ||
        ++p->failures >= (is_pool(p) && !p->source ? TRIES_OF_A_POOL : TRIES_WITHOUT_PROGRESS))
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
        p->avoid |= bit_of(p, p->source);
        if (flow_restart(p->flow))
            p->contributors = 0;
        return true;
    default:
        return false;
    }
}

/* An answer that came to its end and yet lacks something. */
static const struct error *too_little(struct blob_pull *p, struct error *e, const char *than)
{
    error_set(e, ERR_UPSTREAM, "%s sent less than %s", asked(p), than);
    if (p->source)
        standing_fail(p->upstream, p->source, HEALTH_ERROR, e->text);
    return e;
}

static void blob_answered(void *cls, struct source *source, const struct head *head,
                          const struct str *body, const struct error *why)
{
    struct blob_pull *p = cls;
    struct error none;
    (void)source;
    (void)head;
    (void)body;
    p->race = NULL;
    fetcher_clear_timer(p->fetcher, &p->pace);
    if (why && why->kind == ERR_NO_SPACE) { /* it passes now, and this was not its next byte */
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    if (!why && p->skip > 0)
        why = too_little(p, &none, "was already here");
    uint64_t size, hole, length;
    if (!why && flow_size(p->flow, &size)) {
        if (p->offset < (p->limit < size ? p->limit : size))
            why = too_little(p, &none, "the whole");
    } else if (!why && flow_hole(p->flow, 0, &hole, &length) && length != UINT64_MAX) {
        why = too_little(p, &none, "the whole");
        flow_restart(p->flow); /* it never stated a size: whatever that was, it was no blob */
    }
    if (!why) {
        p->is_answered = true;
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    if (why->kind == ERR_RANGE_INVALID && flow_restart(p->flow)) {
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    if (!is_worth_another_try(p, why)) {
        if (p->lane_count == 0)
            blob_end(p, why);
        return; /* or what becomes of the lanes decides */
    }
    log_event(LOG_LEVEL_WARNING, "transfer broke, going on", LOG_S("upstream", asked(p)),
              LOG_S("repository", p->repository), LOG_I("offset", p->offset),
              LOG_S("error", why->text), LOG_END);
    fetcher_set_timer(p->fetcher, &p->step, p->failures <= 1 ? 0 : 250 << p->failures);
}

static void set_pace(struct blob_pull *p)
{
    p->paced = p->received;
    fetcher_set_timer(p->fetcher, &p->pace, pace_ms(p));
}

/* Drops a source that crawls, if there is a better one to go on with. */
static void pace(struct timer *t)
{
    struct blob_pull *p = (struct blob_pull *)((char *)t - offsetof(struct blob_pull, pace));
    int64_t floor = FLOOR_BYTES_PER_S * pace_ms(p) / 1000;
    bool is_slow = (int64_t)(p->received - p->paced) < floor;
    if (!p->source || !is_slow || !has_alternative(p) || flow_is_passing(p->flow)) {
        set_pace(p);
        return;
    }
    log_event(LOG_LEVEL_WARNING, "transfer too slow, going on elsewhere",
              LOG_S("upstream", asked(p)), LOG_S("repository", p->repository),
              LOG_I("offset", p->offset), LOG_END);
    struct race *race = p->race;
    p->race = NULL;
    race_give_up(race);
    fetcher_set_timer(p->fetcher, &p->step, 0);
}

/* end: of the part; UINT64_MAX, or the size: to the end of the blob, whatever that is. */
static void blob_ask(struct blob_pull *p, uint64_t offset, uint64_t end)
{
    char digest[DIGEST_TEXT_MAX];
    digest_print(flow_digest(p->flow), digest);
    autofree char *path = alloc_format("/v2/%s/blobs/%s", p->repository, digest);
    bool is_to_the_end = end == flow_known_size(p->flow) || end == UINT64_MAX;
    p->offset = offset;
    p->limit = is_to_the_end ? UINT64_MAX : end;
    p->asked_last = is_to_the_end ? 0 : end - 1;
    p->progressed = p->is_answered = p->takes_all = false;
    p->source = NULL;
    const struct race_request r = {.upstream = p->upstream,
                                   .order = RACE_ANY,
                                   .repository = p->repository,
                                   .path = path,
                                   .accept = "*/*",
                                   .digest = digest,
                                   .has_range = offset > 0 || !is_to_the_end,
                                   .range_first = offset,
                                   .range_last = p->asked_last,
                                   .avoid = p->avoid,
                                   .on_head = blob_head,
                                   .on_body = blob_body,
                                   .on_done = blob_answered,
                                   .cls = p};
    p->race = race_start(p->fetcher, &r);
    if (is_pool(p))
        set_pace(p);
}

/* Sets aside who had a part in wrong bytes. true: all of it can be asked of somebody else. */
static bool blame(struct blob_pull *p, const char *digest)
{
    const struct upstream *u = p->upstream;
    bool is_sole = (p->contributors & (p->contributors - 1)) == 0 && !p->had_leftover;
    uint32_t all = u->source_count < 32 ? (1u << u->source_count) - 1 : UINT32_MAX;
    for (size_t i = 0; i < u->source_count; i++)
        if (p->contributors & (1u << i))
            standing_blame(u, &u->sources[i], is_sole, p->repository, digest);
    p->avoid |= p->contributors;
    p->contributors = 0;
    return (p->avoid & all) != all;
}

static void blob_finish(struct blob_pull *p)
{
    struct error e = {0};
    char digest[DIGEST_TEXT_MAX];
    if (flow_finish(p->flow, &e) == 0) {
        blob_end(p, NULL);
        return;
    }
    digest_print(flow_digest(p->flow), digest);
    /* What an earlier process left may have been lost by the disk: fetch all of it once more. */
    bool is_first = !p->refetched && (p->had_leftover || !is_pool(p));
    bool has_others = !is_first && blame(p, digest) && is_pool(p);
    if ((is_first || has_others) && flow_restart(p->flow)) {
        p->refetched = true;
        p->is_answered = false;
        p->had_leftover = false;
        p->contributors = 0;
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    if (is_first)
        blame(p, digest);
    metric_add(upstream_corrupt_total, 1);
    log_event(LOG_LEVEL_ERROR, "upstream sent wrong bytes", LOG_S("upstream", asked(p)),
              LOG_S("repository", p->repository), LOG_S("digest", digest), LOG_S("error", e.text),
              LOG_END);
    error_prefix(&e, "%s sent wrong bytes for %s", asked(p), digest);
    blob_end(p, &e);
}

/* What passes comes in order, so from one transfer. */
static void drop_lanes(struct blob_pull *p)
{
    while (p->lane_count > 0) {
        struct lane *l = p->lanes[0];
        lane_remove(p, 0);
        lane_cancel(l);
    }
    p->owed = 0;
}

static void next_step(struct timer *t)
{
    struct blob_pull *p = (struct blob_pull *)((char *)t - offsetof(struct blob_pull, step));
    uint64_t offset = 0, length = 0, end = UINT64_MAX;
    if (flow_is_passing(p->flow))
        drop_lanes(p);
    if (p->race && (p->offset < p->limit || p->takes_all)) {
        for (; p->owed > 0; p->owed--)
            add_lane(p);
        return;
    }
    if (p->race) {
        struct race *race = p->race;
        p->race = NULL;
        fetcher_clear_timer(p->fetcher, &p->pace);
        race_leave(race);
    }
    bool is_missing = flow_hole(p->flow, 0, &offset, &length);
    bool is_open_ended =
        length == UINT64_MAX; /* no size was stated: the end of the answer is the end */
    if (is_missing && p->lane_count > 0) {
        if (find_gap(p, &offset, &end) || split(p, &offset, &end))
            blob_ask(p, offset, end);
        return; /* who is still at it will call again */
    }
    bool is_to_be_asked = is_missing && !(is_open_ended && p->is_answered);
    bool is_hashed_first = !is_to_be_asked || flow_is_passing(p->flow); /* and then as it comes */
    bool is_behind = is_hashed_first && flow_hash_rest(p->flow, CATCH_UP_SLICE);
    if (is_to_be_asked && !is_behind)
        blob_ask(p, offset, part_end(p, offset));
    else if (is_behind)
        fetcher_set_timer(p->fetcher, &p->step, 0);
    else
        blob_finish(p);
}

static void flush(struct timer *t)
{
    struct blob_pull *p = (struct blob_pull *)((char *)t - offsetof(struct blob_pull, flush));
    set_flush(p);
}

static void open_flow(struct timer *t)
{
    struct blob_pull *p = (struct blob_pull *)((char *)t - offsetof(struct blob_pull, step));
    flow_open(p->flow);
    flow_hash_beside(p->flow, fetcher_get_options(p->fetcher)->hashing);
    uint64_t offset, length = 0;
    p->had_leftover = flow_present(p->flow) > 0;
    p->is_promised = !flow_hole(p->flow, 0, &offset, &length) || length != UINT64_MAX;
    p->step.run = next_step;
    next_step(&p->step);
}

void pull_blob(struct fetcher *f, struct upstream *u, const char *repository, struct flow *flow,
               void (*done)(void *cls, const struct error *why), void *cls)
{
    struct blob_pull *p = alloc_zero(sizeof *p);
    *p = (struct blob_pull){.fetcher = f,
                            .upstream = u,
                            .repository = alloc_string(repository),
                            .flow = flow_ref(flow),
                            .done = done,
                            .cls = cls,
                            .step.run = open_flow,
                            .pace.run = pace,
                            .flush.run = flush,
                            .widen.run = widen,
                            .limit = UINT64_MAX};
    fetcher_set_timer(f, &p->step, 0);
}
