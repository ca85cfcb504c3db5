/* SPDX-License-Identifier: Apache-2.0
 * From a blob that is not held to one that is: room for it, a flow, its bytes, the ledger. A flow
 * stays in the table until the ledger is done, so whoever looks there and then in the store misses
 * nothing. */
#include "mirror/fill.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/str.h"
#include "cache/ledger.h"
#include "cache/room.h"
#include "cache/store.h"
#include "fetch/fetcher.h"
#include "fetch/pull.h"
#include "mirror/flights.h"
#include "mirror/known.h"
#include "mirror/question.h"
#include "upstream/upstream.h"

enum {
    SMALL_BLOB = 64 << 10,
    ROOM_EVERY_MS = 5,     /* how often is looked whether there is room, */
    ROOM_WITHIN_MS = 2000, /* and how long a client waits for it */
};

struct fill {
    struct call call; /* first */
    struct mirror *mirror;
    struct upstream *upstream;
    struct flow *flow;
    struct content *small; /* that memory has, too; or NULL */
    struct timer again;
    int64_t room_by_ms; /* after that it passes */
    char repository[REPOSITORY_MAX + 1];
};

static void fill_end(struct fill *f)
{
    if (f->small)
        content_unref(f->small);
    flights_end_flow(f->mirror->flights, f->flow);
    flow_unref(f->flow);
    free(f);
}

static void published(void *cls, const struct error *e)
{
    struct fill *f = cls;
    if (e && f->small) /* the ledger has told; what could not be stored is simply not held */
        known_note_unstored(f->small);
    fill_end(f);
}

static void remember_small(struct fill *f, uint64_t size)
{
    char bytes[SMALL_BLOB];
    if (size > sizeof bytes || flow_read(f->flow, 0, bytes, (size_t)size, NULL) != (ssize_t)size)
        return;
    f->small = content_new(flow_digest(f->flow), "", bytes, (size_t)size);
    if (flow_is_passing(f->flow))
        known_note_unstored(f->small);
    known_put_content(f->mirror->known, f->small);
}

static void filled(void *cls, const struct error *why)
{
    struct fill *f = cls;
    struct mirror *m = f->mirror;
    const struct digest *d = flow_digest(f->flow);
    char text[DIGEST_TEXT_MAX];
    uint64_t size = 0;
    if (why) {
        digest_print(d, text);
        if ((why->kind == ERR_NOT_FOUND || why->kind == ERR_NAME_UNKNOWN))
            known_fail_note(m->known, f->upstream->registry, f->repository, text, true);
        else if (why->kind != ERR_STOPPING)
            log_event(LOG_LEVEL_WARNING, "a blob could not be fetched",
                      LOG_S("repository", f->repository), LOG_S("digest", text),
                      LOG_S("upstream", upstream_origin(f->upstream)->url),
                      LOG_S("error", why->text), LOG_END);
        fill_end(f);
        return;
    }
    flow_size(f->flow, &size);
    bool is_stored = !flow_is_passing(f->flow);
    known_put_hold(m->known, f->upstream->registry, f->repository, d, (int64_t)size, !is_stored);
    remember_small(f, size);
    if (!is_stored || !ledger_publish(m->ledger, d, flow_fd(f->flow), size, f->upstream->registry,
                                      f->repository, published, f))
        fill_end(f);
}

static void begin(struct fill *f)
{
    pull_blob(f->mirror->fetcher, f->upstream, f->repository, f->flow, filled, f);
}

static void begin_passing(struct fill *f)
{
    struct error why;
    error_set(&why, ERR_NO_SPACE, "nothing may go, and nothing more fits");
    flow_pass(f->flow, &why);
    begin(f);
}

/* Looks again whether it fits by now; until then who asked waits. */
static void wait_for_room(struct timer *t)
{
    struct fill *f = (struct fill *)((char *)t - offsetof(struct fill, again));
    struct room *room = store_room(f->mirror->store);
    int64_t size = (int64_t)flow_known_size(f->flow);
    bool fits = room_reserve(room, flow_digest(f->flow), (uint64_t)size);
    if (!fits && !room_is_stuck(room) && clock_mono_ms() < f->room_by_ms &&
        !fetcher_is_stopping(f->mirror->fetcher)) {
        fetcher_set_timer(f->mirror->fetcher, t, ROOM_EVERY_MS);
        return;
    }
    room_want(room, -size);
    if (fits)
        begin(f);
    else
        begin_passing(f);
}

/* What it needs is reserved before it is fetched. Of unknown size: as it grows. */
static void fill_run(struct call *c)
{
    struct fill *f = (struct fill *)c;
    struct room *room = store_room(f->mirror->store);
    uint64_t size = flow_known_size(f->flow);
    if (flow_is_passing(f->flow) || size == UINT64_MAX ||
        room_reserve(room, flow_digest(f->flow), size)) {
        begin(f);
    } else if (room_is_stuck(room) || !room_could_fit(room, size)) {
        begin_passing(f);
    } else {
        room_want(room, (int64_t)size);
        ledger_make_room(f->mirror->ledger);
        f->again.run = wait_for_room;
        f->room_by_ms = clock_mono_ms() + ROOM_WITHIN_MS;
        fetcher_set_timer(f->mirror->fetcher, &f->again, ROOM_EVERY_MS);
    }
}

struct flow *fill_join(struct mirror *m, struct upstream *u, const char *repository,
                       const struct digest *d, int64_t size_bytes, uint64_t ended, bool *joined)
{
    bool begun;
    autofree char *owner = alloc_format("%s/%s", u->registry, repository);
    struct flow *flow =
        flights_join_flow(m->flights, m->store, d, size_bytes, owner, ended, &begun);
    if (flow && !begun && flow_state(flow) == FLOW_FAILED) {
        flights_end_flow(m->flights, flow); /* its own filler may not have come to that yet */
        flow_unref(flow);
        flow = NULL;
    }
    if (flow && !begun && flow_is_past(flow)) {
        flow_unref(flow); /* a late reader of what is not kept: one of his own, in no table */
        flow = flow_new_passing(m->store, d, size_bytes);
        begun = true;
    }
    *joined = !begun;
    if (!flow || !begun)
        return flow;
    metric_add(questions_total, 1);
    struct fill *f = alloc_zero(sizeof *f);
    f->call.run = fill_run;
    f->mirror = m;
    f->upstream = u;
    f->flow = flow_ref(flow);
    slice_copy(slice_of(repository), f->repository, sizeof f->repository);
    if (!fetcher_post(m->fetcher, &f->call)) {
        struct error too_many;
        error_set(&too_many, ERR_BUSY,
                  "too many questions wait for the upstreams, or the mirror is stopping");
        flow_fail(flow, &too_many);
        fill_end(f);
    }
    return flow;
}
