/* SPDX-License-Identifier: Apache-2.0
 * Contenders are added one by one: at once when all so far have failed, after a delay while the
 * last one gives no sign. libcurl may not be told to drop a transfer from within the callback of
 * another: losers are cancelled in the next round. */
#include "fetch/race.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "fetch/exchange.h"
#include "fetch/fetcher.h"
#include "fetch/standing.h"
#include "upstream/upstream.h"

enum {
    SHORT_PATIENCE_MS = 2000,       /* with an origin that was too slow lately */
    PATIENCE_MS = 4000,             /* with the origin, while mirrors wait to be asked */
    MEASURED_MIN_BYTES = 256 << 10, /* of a body that tells a throughput */
};

struct contender {
    struct race *race;
    struct source *source;
    struct exchange *exchange; /* NULL: not begun, or over */
    struct str body;
    struct head head; /* of the final answer */
    bool was_suspected, was_awaited, has_begun;
    int64_t first_body_ms;
    uint64_t received;
};

struct race {
    struct fetcher *fetcher;
    struct race_request request; /* its strings are the race's own */
    char *repository, *path, *accept, *digest;
    struct source *line[SOURCES_MAX];          /* in the order in which they are asked */
    struct contender *contenders[SOURCES_MAX]; /* the first `next` of them */
    size_t count, next, running;
    struct contender *winner;
    struct timer advance; /* the next contender, or what the last one waits for */
    struct timer settle;  /* cancels the losers */
    int64_t patience_ms;  /* what is left of it after the present delay */
    bool has_waited;      /* longer than a delay, before asking who is left out */
    bool has_timed_out;   /* somebody: a client waits for one time-out, not for several */
    struct error why;     /* the worst so far: of the origin, if it was asked */
    bool has_origins_word;
};

static void advance(struct timer *t);
static void succeed(struct contender *c);

static bool is_pool(const struct upstream *u)
{
    return u->source_count > 1;
}

static bool is_missing(const struct error *why)
{
    return why->kind == ERR_NOT_FOUND || why->kind == ERR_NAME_UNKNOWN;
}

/* --- the end ---------------------------------------------------------------------------------- */

static void retire(struct contender *c)
{
    if (c->has_begun)
        health_end(&c->source->health, c->was_suspected);
    c->has_begun = false;
    c->race->running--;
}

static void cancel(struct contender *c)
{
    if (!c->exchange)
        return;
    struct exchange *x = c->exchange;
    c->exchange = NULL;
    exchange_cancel(x);
    /* Who lost without having been given the time is not blamed. */
    if (c->was_suspected && is_pool(c->race->request.upstream))
        standing_fail(c->race->request.upstream, c->source,
                      c->was_awaited ? HEALTH_TIMEOUT : HEALTH_SLOW, "it did not answer in time");
    retire(c);
}

static void cancel_losers(struct race *r)
{
    for (size_t i = 0; i < r->next; i++)
        if (r->contenders[i] != r->winner)
            cancel(r->contenders[i]);
}

static void release(struct race *r)
{
    fetcher_clear_timer(r->fetcher, &r->advance);
    fetcher_clear_timer(r->fetcher, &r->settle);
    for (size_t i = 0; i < r->next; i++) {
        cancel(r->contenders[i]);
        str_fini(&r->contenders[i]->body);
        free(r->contenders[i]);
    }
    free(r->repository);
    free(r->path);
    free(r->accept);
    free(r->digest);
    free(r);
}

void race_leave(struct race *r)
{
    if (r->winner)
        succeed(r->winner);
    release(r);
}

void race_give_up(struct race *r)
{
    if (r->winner)
        standing_fail(r->request.upstream, r->winner->source, HEALTH_SLOW, "it became too slow");
    release(r);
}

static void finish(struct race *r, struct contender *winner, const struct error *why)
{
    static const struct head no_head = {.content_length = -1};
    static const struct str no_body;
    struct error kept = why ? *why : (struct error){0};
    r->winner = winner;
    cancel_losers(r);
    r->request.on_done(r->request.cls, winner ? winner->source : NULL,
                       winner ? &winner->head : &no_head, winner ? &winner->body : &no_body,
                       why ? &kept : NULL);
    release(r);
}

static void settle(struct timer *t)
{
    cancel_losers((struct race *)((char *)t - offsetof(struct race, settle)));
}

/* The origin's own words count; until they are heard, a mirror's failure, but not its 404. */
static void remember(struct race *r, const struct contender *c, const struct error *why)
{
    bool is_origin = c->source == upstream_origin(r->request.upstream) || r->request.only;
    if (r->has_origins_word && !is_origin)
        return;
    r->why = *why;
    r->has_origins_word = is_origin;
    if (!is_origin && is_missing(why))
        r->why.kind = ERR_UPSTREAM;
}

static void finish_without(struct race *r)
{
    struct error e = r->why;
    const struct upstream *u = r->request.upstream;
    if (e.kind == ERR_NONE)
        error_set(&e, ERR_UPSTREAM, "%s is left out after failing lately", upstream_origin(u)->url);
    if (is_pool(u) && r->request.order != RACE_ORIGIN_ONLY && !is_missing(&e) &&
        e.kind != ERR_STOPPING)
        error_prefix(&e, "no source of %s could answer", u->registry);
    finish(r, NULL, &e);
}

/* --- contenders ------------------------------------------------------------------------------- */

static void on_sign(void *cls, const struct head *head)
{
    struct contender *c = cls;
    standing_sign(c->source, head);
}

/* A web page is no content; the only source there is may call its blobs what it likes, and an
 * origin may answer HEAD with one. */
static bool is_page(const struct contender *c, const struct head *head)
{
    const struct race_request *q = &c->race->request;
    bool is_origins =
        c->source == upstream_origin(q->upstream) && (q->is_head || q->order == RACE_ORIGIN_ONLY);
    return is_pool(q->upstream) && !is_origins &&
           strncasecmp(head->content_type, "text/html", 9) == 0;
}

static int on_head(void *cls, const struct head *head, struct error *e)
{
    struct contender *c = cls;
    if (is_page(c, head))
        return error_set(e, ERR_UPSTREAM, "%s answered with a web page", c->source->url);
    const struct race_request *q = &c->race->request;
    if (q->judge && !q->is_head && head->content_length > (int64_t)q->body_max)
        return error_set(e, ERR_UPSTREAM, "%s sent a %s of %lld bytes, more than %zu are refused",
                         c->source->url, q->noun, (long long)head->content_length, q->body_max);
    c->head = *head;
    return 0;
}

/* The first whose content begins takes it all. */
static int win(struct contender *c, struct error *e)
{
    struct race *r = c->race;
    if (r->winner)
        return error_set(e, ERR_STOPPING, "another source was faster");
    if (r->request.on_head(r->request.cls, c->source, &c->head, e) < 0)
        return -1;
    r->winner = c;
    c->first_body_ms = clock_mono_ms();
    fetcher_clear_timer(r->fetcher, &r->advance);
    fetcher_set_timer(r->fetcher, &r->settle, 0);
    return 0;
}

static int on_body(void *cls, const void *bytes, size_t length, struct error *e)
{
    struct contender *c = cls;
    struct race *r = c->race;
    if (!r->request.on_body) {
        c->received += length;
        if (c->body.length + length > r->request.body_max)
            return error_set(e, ERR_UPSTREAM, "%s sent a %s of more than %zu bytes", c->source->url,
                             r->request.noun, r->request.body_max);
        str_add_bytes(&c->body, bytes, length);
        return 0;
    }
    if (r->winner != c && win(c, e) < 0)
        return -1;
    int result = r->request.on_body(r->request.cls, bytes, length, e);
    c->received += result == 0 ? length : 0;
    return result;
}

static void succeed(struct contender *c)
{
    bool tells = c->received >= MEASURED_MIN_BYTES && c->first_body_ms > 0;
    standing_succeed(c->race->request.upstream, c->source, c->race->repository,
                     tells ? c->received : 0, clock_mono_ms() - c->first_body_ms);
}

/* Somebody who has not had his time yet, or the origin, has not answered: worth going on. */
static bool may_still_answer(const struct race *r)
{
    for (size_t i = 0; i < r->next; i++) {
        const struct contender *c = r->contenders[i];
        if (c->exchange && (!c->was_suspected || c->source == upstream_origin(r->request.upstream)))
            return true;
    }
    return false;
}

static void failed(struct contender *c, const struct error *why)
{
    struct race *r = c->race;
    const struct race_request *q = &r->request;
    bool is_origin = c->source == upstream_origin(q->upstream);
    if (r->winner && r->winner != c)
        return; /* it only heard that it lost */
    standing_judge(q->upstream, c->source, r->repository, r->digest, why);
    remember(r, c, why);
    r->has_timed_out |= why->kind == ERR_TIMEOUT;
    bool is_ours = why->kind == ERR_STOPPING || why->kind == ERR_IO || why->kind == ERR_NO_SPACE;
    if (r->winner == c)
        finish(r, c, why);
    else if (is_ours || (is_origin && is_missing(why)))
        finish(r, NULL, why);
    else if (r->next < r->count && c == r->contenders[r->next - 1])
        fetcher_set_timer(r->fetcher, &r->advance, 0);
    else if (r->next == r->count && (r->has_timed_out || r->running == 0) && !may_still_answer(r))
        finish_without(r);
}

static void on_done(void *cls, const struct head *head, const struct error *why)
{
    struct contender *c = cls;
    struct race *r = c->race;
    struct error e = {0};
    c->exchange = NULL;
    retire(c);
    if (!why) {
        c->head = *head;
        if (r->request.judge) {
            if (r->request.judge(r->request.cls, c->source, head, &c->body, &e) < 0)
                why = &e;
        } else if (r->winner != c && win(c, &e) < 0) { /* an empty body */
            why = &e;
        }
    }
    if (why) {
        failed(c, why);
        return;
    }
    succeed(c);
    finish(r, c, NULL);
}

/* An origin that is merely slow still tells tags better than any mirror. */
static bool is_to_be_awaited(const struct source *origin)
{
    const struct health *h = &origin->health;
    return (!h->is_out || h->why == HEALTH_SLOW) && clock_mono_ms() >= h->limited_until_ms;
}

/* One that never answered is given as long as the best of the others would be. */
static int64_t hedge_ms(const struct upstream *u, const struct source *s, int64_t now_ms)
{
    int64_t delay = health_hedge_ms(&s->health, now_ms);
    for (size_t i = 0; s->health.answered_at_ms == 0 && i < u->source_count; i++) {
        const struct health *h = &u->sources[i].health;
        int64_t other = health_hedge_ms(h, now_ms);
        if (h->answered_at_ms > 0 && health_is_usable(h, now_ms) && other < delay)
            delay = other;
    }
    return delay;
}

/* How long until the next is asked beside it. */
static int64_t delay_after(struct race *r, const struct contender *c)
{
    const struct upstream *u = r->request.upstream;
    int64_t now_ms = clock_mono_ms(), delay = hedge_ms(u, c->source, now_ms);
    int64_t patience =
        health_is_usable(&c->source->health, now_ms) ? PATIENCE_MS : SHORT_PATIENCE_MS;
    bool is_last = r->request.can_do_without && r->next == r->count;
    bool is_awaited = is_last || (c->source == upstream_origin(u) && r->request.order != RACE_ANY &&
                                  is_to_be_awaited(c->source));
    r->patience_ms = is_awaited && patience > delay ? patience - delay : 0;
    return delay;
}

static bool is_worth_watching(const struct race *r)
{
    return is_pool(r->request.upstream) && !r->request.only &&
           (r->next < r->count || r->request.can_do_without || r->request.order == RACE_ANY);
}

static void launch(struct race *r)
{
    struct contender *c = alloc_zero(sizeof *c);
    const struct race_request *q = &r->request;
    struct error e;
    c->race = r;
    c->source = r->line[r->next];
    r->contenders[r->next++] = c;
    const struct exchange_request x = {.source = c->source,
                                       .repository = r->repository,
                                       .path = r->path,
                                       .accept = r->accept,
                                       .is_head = q->is_head,
                                       .has_range = q->has_range,
                                       .range_first = q->range_first,
                                       .range_last = q->range_last,
                                       .on_sign = on_sign,
                                       .on_head = on_head,
                                       .on_body = on_body,
                                       .on_done = on_done,
                                       .cls = c};
    c->exchange = exchange_start(r->fetcher, &x, &e);
    if (!c->exchange) {
        remember(r, c, &e);
        finish_without(r);
        return;
    }
    r->running++;
    c->has_begun = true;
    int64_t delay = delay_after(r, c); /* of what was known before it began */
    health_begin(&c->source->health);
    if (is_worth_watching(r))
        fetcher_set_timer(r->fetcher, &r->advance, delay);
}

/* The last contender has had its time: is it silent, or does it only wait for its turn with us? */
static void suspect(struct contender *c)
{
    if (!c->exchange || c->was_suspected || !exchange_is_under_way(c->exchange))
        return;
    c->was_suspected = true;
    health_suspect(&c->source->health, clock_mono_ms());
}

static void advance(struct timer *t)
{
    struct race *r = (struct race *)((char *)t - offsetof(struct race, advance));
    struct error e;
    struct contender *last = r->next > 0 ? r->contenders[r->next - 1] : NULL;
    if (last && last->exchange) {
        suspect(last);
        if (r->patience_ms > 0) {
            fetcher_set_timer(r->fetcher, t, r->patience_ms);
            r->patience_ms = 0;
            last->was_awaited = r->has_waited = true;
            return;
        }
        if (r->next < r->count && !r->has_waited &&
            !health_is_usable(&r->line[r->next]->health, clock_mono_ms())) {
            r->has_waited = true;
            fetcher_set_timer(r->fetcher, t, PATIENCE_MS);
            return;
        }
        if (r->next == r->count && r->has_timed_out && !may_still_answer(r)) {
            finish_without(r);
            return;
        }
        if (r->next == r->count && r->request.can_do_without) {
            error_set(&e, ERR_TIMEOUT, "%s gives no sign", last->source->url);
            finish(r, NULL, &e);
            return;
        }
    }
    if (r->next < r->count)
        launch(r);
    else if (r->running == 0)
        finish_without(r);
}

/* --- the beginning ---------------------------------------------------------------------------- */

static size_t add(const struct race_request *q, struct source *s, struct source **line,
                  size_t count)
{
    size_t i = (size_t)(s - q->upstream->sources);
    if (!(q->avoid & (1u << i)))
        line[count++] = s;
    return count;
}

size_t race_line(const struct race_request *q, struct source **line)
{
    struct upstream *u = q->upstream;
    struct source *origin = upstream_origin(u);
    const struct health *all[SOURCES_MAX];
    size_t order[SOURCES_MAX];
    int64_t now_ms = clock_mono_ms();
    bool is_origin_in = is_to_be_awaited(origin);
    if (q->only)
        return add(q, q->only, line, 0);
    if (q->order == RACE_ORIGIN_ONLY)
        return is_origin_in || !q->can_do_without || !is_pool(u) ? add(q, origin, line, 0) : 0;
    for (size_t i = 0; i < u->source_count; i++)
        all[i] = &u->sources[i].health;
    size_t ordered = health_order(all, u->source_count, q->repository, q->digest, now_ms, order);
    bool is_origin_first = q->order == RACE_ORIGIN_FIRST && is_origin_in;
    size_t count = is_origin_first ? add(q, origin, line, 0) : 0;
    for (size_t i = 0; i < ordered; i++)
        if (!is_origin_first || &u->sources[order[i]] != origin)
            count = add(q, &u->sources[order[i]], line, count);
    return count;
}

static void begin(struct timer *t)
{
    struct race *r = (struct race *)((char *)t - offsetof(struct race, advance));
    r->count =
        race_line(&r->request,
                  r->line); /* now, not when it was asked for: what ended in this round is known */
    standing_probe(r->fetcher, r->request.upstream, r->repository, r->path, r->accept);
    t->run = advance;
    advance(t);
}

struct race *race_start(struct fetcher *f, const struct race_request *q)
{
    struct race *r = alloc_zero(sizeof *r);
    r->fetcher = f;
    r->request = *q;
    r->repository = alloc_string(q->repository);
    r->path = alloc_string(q->path);
    r->accept = q->accept ? alloc_string(q->accept) : NULL;
    r->digest = q->digest ? alloc_string(q->digest) : NULL;
    r->request.repository = r->repository;
    r->request.path = r->path;
    r->request.accept = r->accept;
    r->request.digest = r->digest;
    r->advance.run = begin;
    r->settle.run = settle;
    fetcher_set_timer(f, &r->advance, 0);
    return r;
}
