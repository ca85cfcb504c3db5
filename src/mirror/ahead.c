/* SPDX-License-Identifier: Apache-2.0
 * The list belongs to the fetch thread; others only mark in it what was asked for, under the mutex,
 * and find out without it, by a bit of the digest, that there is nothing to mark. */
#include "mirror/ahead.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "cache/flow.h"
#include "fetch/fetcher.h"
#include "fetch/pull.h"
#include "mirror/content.h"
#include "mirror/fill.h"
#include "mirror/flights.h"
#include "mirror/known.h"
#include "mirror/question.h"
#include "oci/manifest.h"
#include "oci/reference.h"
#include "upstream/upstream.h"

enum {
    ITEMS_MAX = 256,      /* waiting, coming, and remembered */
    BUSY_MS = 50,         /* between two looks while something comes, */
    IDLE_MS = 1000,       /* or is only remembered */
    REMEMBERED_S = 600,   /* who did not ask by then will not */
    NO_SPACE_MS = 60000,  /* after a full disk */
    RATE_LEFT_SHARE = 10, /* of a source's limit, below which it is spared */
};

enum stage { ITEM_WAITS, ITEM_COMES, ITEM_CAME };

struct item {
    TAILQ_ENTRY(item) next;
    enum stage stage;
    bool is_asked; /* under the mutex */
    struct digest digest;
    uint64_t size_bytes;
    struct upstream *upstream;
    struct flow *flow; /* while it comes */
    int64_t came_ms;
    char repository[REPOSITORY_MAX + 1];
};

TAILQ_HEAD(items, item);

struct ahead {
    struct ahead_options options;
    struct mirror *mirror;
    struct timer look;
    int64_t paused_until_ms;
    unsigned count, coming;
    uint64_t bytes; /* coming or come */
    _Atomic uint64_t bits[4];
    struct mutex mutex; /* guards the list's shape, and is_asked */
    struct items items;
};

static void look(struct timer *t);

struct ahead *ahead_new(const struct ahead_options *o, struct mirror *m)
{
    struct ahead *a = alloc_zero(sizeof *a);
    a->options = *o;
    a->mirror = m;
    a->look.run = look;
    mutex_init(&a->mutex, RANK_APP);
    TAILQ_INIT(&a->items);
    return a;
}

/* --- the list --------------------------------------------------------------------------------- */

static bool has(const struct ahead *a, const struct digest *d)
{
    const struct item *i;
    TAILQ_FOREACH(i, &a->items, next)
    if (digest_equals(&i->digest, d))
        return true;
    return false;
}

static void set_bits(struct ahead *a)
{
    uint64_t bits[4] = {0};
    const struct item *i;
    TAILQ_FOREACH(i, &a->items, next)
    bits[i->digest.bytes[0] >> 6] |= 1ull << (i->digest.bytes[0] & 63);
    for (size_t k = 0; k < 4; k++)
        atomic_store(&a->bits[k], bits[k]);
}

static void add(struct ahead *a, struct item *i)
{
    MUTEX_HOLD(&a->mutex);
    TAILQ_INSERT_TAIL(&a->items, i, next);
    a->count++;
    set_bits(a);
}

static void drop(struct ahead *a, struct item *i)
{
    mutex_lock(&a->mutex);
    TAILQ_REMOVE(&a->items, i, next);
    a->count--;
    set_bits(a);
    mutex_unlock(&a->mutex);
    a->coming -= i->stage == ITEM_COMES;
    a->bytes -= i->stage == ITEM_WAITS ? 0 : i->size_bytes;
    if (i->flow)
        flow_unref(i->flow);
    free(i);
}

void ahead_free(struct ahead *a)
{
    struct item *i;
    while ((i = TAILQ_FIRST(&a->items)))
        drop(a, i);
    mutex_fini(&a->mutex);
    free(a);
}

void ahead_asked(struct ahead *a, const struct digest *d)
{
    struct item *i;
    if (!(atomic_load(&a->bits[d->bytes[0] >> 6]) & (1ull << (d->bytes[0] & 63))))
        return;
    MUTEX_HOLD(&a->mutex);
    TAILQ_FOREACH(i, &a->items, next)
    if (digest_equals(&i->digest, d))
        i->is_asked = true;
}

static bool is_asked(struct ahead *a, const struct item *i)
{
    MUTEX_HOLD(&a->mutex);
    return i->is_asked;
}

/* --- when not --------------------------------------------------------------------------------- */

static bool is_spared(const struct upstream *u, int64_t now_ms)
{
    for (size_t i = 0; i < u->source_count; i++) {
        const struct health *h = &u->sources[i].health;
        bool is_scarce = h->rate_limit > 0 && h->rate_remaining >= 0 &&
                         h->rate_remaining < h->rate_limit / RATE_LEFT_SHARE;
        if (now_ms < h->limited_until_ms || is_scarce)
            return true;
    }
    return false;
}

static bool is_stopping(const struct ahead *a)
{
    return __atomic_load_n(&a->mirror->is_stopping, __ATOMIC_ACQUIRE);
}

static bool must_not(const struct ahead *a, const struct upstream *u)
{
    int64_t now_ms = clock_mono_ms();
    return fetcher_is_tight(a->mirror->fetcher) || now_ms < a->paused_until_ms || is_stopping(a) ||
           is_spared(u, now_ms);
}

/* --- its life --------------------------------------------------------------------------------- */

static bool is_held(struct ahead *a, const struct digest *d)
{
    struct content *c = known_content(a->mirror->known, NULL, d, false);
    if (c)
        content_unref(c);
    return c != NULL;
}

/* false: there is nothing to begin. */
static bool begin(struct ahead *a, struct item *i)
{
    struct mirror *m = a->mirror;
    bool joined;
    do {
        uint64_t ended = flights_ended(m->flights);
        if (is_held(a, &i->digest) || !flights_is_free(m->flights, &i->digest))
            return false;
        i->flow = fill_join(m, i->upstream, i->repository, &i->digest, (int64_t)i->size_bytes,
                            ended, &joined);
    } while (!i->flow);
    if (joined)
        return false;
    i->stage = ITEM_COMES;
    a->coming++;
    a->bytes += i->size_bytes;
    metric_add(prefetch_begun_total, 1);
    return true;
}

static bool has_room_for(const struct ahead *a, const struct item *i)
{
    return a->coming < a->options.flows && i->size_bytes <= a->options.bytes &&
           a->bytes <= a->options.bytes - i->size_bytes;
}

/* It came, failed, or has to make way. true: it is to be forgotten. */
static bool follow(struct ahead *a, struct item *i)
{
    struct error e = {0};
    enum flow_state state = flow_state(i->flow);
    if (state == FLOW_VERIFIED) {
        flow_unref(take(i->flow));
        a->coming--;
        i->stage = ITEM_CAME;
        i->came_ms = clock_mono_ms();
        return false;
    }
    if (state == FLOW_FAILED)
        return true;
    bool has_space = !flow_is_passing(i->flow);
    if (!has_space)
        a->paused_until_ms = clock_mono_ms() + NO_SPACE_MS;
    /* Nobody who was not there by now can find it any more. */
    if ((has_space && !must_not(a, i->upstream)) ||
        !flights_retire_flow(a->mirror->flights, i->flow))
        return false;
    metric_add(prefetch_dropped_total, 1);
    error_set(&e, ERR_STOPPING, "nobody asked for it yet, and others wait");
    pull_abandon(a->mirror->fetcher, i->flow, &e);
    return true;
}

static bool attend(struct ahead *a, struct item *i)
{
    if (is_asked(a, i)) {
        metric_add(prefetch_asked_total, i->stage != ITEM_WAITS);
        return true;
    }
    switch (i->stage) {
    case ITEM_WAITS:
        if (must_not(a, i->upstream))
            return true;
        return has_room_for(a, i) && !begin(a, i);
    case ITEM_COMES:
        return follow(a, i);
    case ITEM_CAME:
        if (clock_mono_ms() - i->came_ms < REMEMBERED_S * 1000)
            return false;
        metric_add(prefetch_wasted_bytes_total, (int64_t)i->size_bytes);
        return true;
    }
    return true;
}

static void look(struct timer *t)
{
    struct ahead *a = (struct ahead *)((char *)t - offsetof(struct ahead, look));
    bool is_busy = false;
    struct item *next;
    for (struct item *i = TAILQ_FIRST(&a->items); i; i = next) {
        next = TAILQ_NEXT(i, next);
        if (attend(a, i))
            drop(a, i);
        else
            is_busy |= i->stage == ITEM_COMES || has_room_for(a, i);
    }
    if (a->count > 0 && !is_stopping(a)) /* the fetcher ends when no timer is left */
        fetcher_set_timer(a->mirror->fetcher, t, is_busy ? BUSY_MS : IDLE_MS);
}

/* What a registry does not distribute is not asked of it. */
static bool is_wanted(struct ahead *a, const struct child *c)
{
    return (c->kind == CHILD_CONFIG || c->kind == CHILD_LAYER) && c->size_bytes >= 0 &&
           (uint64_t)c->size_bytes <= a->options.bytes && !strstr(c->media_type, "foreign") &&
           !strstr(c->media_type, "nondistributable") && !has(a, &c->digest) &&
           !is_held(a, &c->digest) && flights_is_free(a->mirror->flights, &c->digest);
}

void ahead_manifest(struct ahead *a, struct upstream *u, const char *repository,
                    const struct content *manifest)
{
    struct manifest m;
    if (!a->options.is_on || !u->is_prefetched || a->mirror->options.rules.mode == MODE_OFFLINE ||
        must_not(a, u) ||
        manifest_parse(manifest->media_type[0] ? manifest->media_type : NULL, manifest->bytes,
                       (size_t)manifest->size_bytes, &m, NULL) < 0)
        return;
    for (size_t k = 0; !m.is_index && k < m.child_count && a->count < ITEMS_MAX; k++) {
        const struct child *c = &m.children[k];
        if (!is_wanted(a, c))
            continue;
        struct item *i = alloc_zero(sizeof *i);
        i->digest = c->digest;
        i->size_bytes = (uint64_t)c->size_bytes;
        i->upstream = u;
        slice_copy(slice_of(repository), i->repository, sizeof i->repository);
        add(a, i);
    }
    manifest_fini(&m);
    if (a->count > 0)
        fetcher_set_timer(a->mirror->fetcher, &a->look, 0);
}
