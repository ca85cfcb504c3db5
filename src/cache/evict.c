/* SPDX-License-Identifier: Apache-2.0
 * The hand and what it does to a row. Files go before rows: on a disk that is full the rows could
 * not be written otherwise, and a row without a file is put right by whoever finds it. The place of
 * the hand is not kept over a restart: what was used since it came by is. */
#include "cache/evict.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "cache/index.h"
#include "cache/quarantine.h"
#include "cache/room.h"
#include "cache/sql.h"
#include "cache/store.h"

enum {
    HIGH_PERCENT = 98, /* of the limit: where it begins, */
    LOW_PERCENT = 95,  /* and ends */
    SLICE_ROWS = 256,
    SLICE_US = 3000,
    SPARED_MAX = 256,    /* uses below one image that are taken back at once */
    REST_MS = 1000,      /* after a pass that found nothing, and ten times what it took */
    FRUITLESS_TURNS = 2, /* of the hand: the first may only have spared */
};

struct evict {
    struct store *store;
    struct index *x;
    struct room *room;
    struct evict_listener listener;
    int64_t hand_turn; /* the last row that it passed */
    struct digest hand_digest;
    bool has_orphans; /* there may be rows whose image went just now */
    bool is_running, is_stuck;
    bool is_hasty;      /* the disk is too full even to note what was spared */
    unsigned fruitless; /* turns of the hand since something went */
    int64_t began_ms, rest_until_ms;
    /* of one call: */
    bool is_dry;
    void (*visit)(const struct evicted *gone, void *cls);
    void *cls;
    int64_t freed;
};

/* One row under the hand. */
struct candidate {
    struct digest digest;
    uint64_t size_bytes;
    int64_t turn; /* 0: its image went just now */
};

struct evict *evict_new(struct store *s, struct index *x)
{
    struct evict *v = alloc_zero(sizeof *v);
    v->store = s;
    v->x = x;
    v->room = store_room(s);
    v->has_orphans = true;
    return v;
}

void evict_free(struct evict *v)
{
    free(v);
}

void evict_listen(struct evict *v, const struct evict_listener *l)
{
    v->listener = *l;
}

void evict_tell_gone(struct evict *v, const struct digest *d)
{
    if (v->listener.gone)
        v->listener.gone(v->listener.cls, d);
}

/* --- rows ------------------------------------------------------------------------------------- */

static int run(struct evict *v, enum sql_name name, const struct digest *d, struct error *e)
{
    autoquery struct query q = query_start(index_writer(v->x), name);
    query_digest(&q, d);
    return query_run(&q, e);
}

/* 1: there is a row. */
static int ask(struct evict *v, enum sql_name name, const struct digest *d, struct error *e)
{
    autoquery struct query q = query_start(index_writer(v->x), name);
    query_digest(&q, d);
    return query_step(&q, e);
}

static int get_candidate(struct query *q, struct candidate *c, struct error *e)
{
    int got = query_step(q, e);
    if (got < 1)
        return got;
    if (query_get_digest(q, 0, &c->digest, e) < 0)
        return -1;
    c->size_bytes = (uint64_t)query_get_integer(q, 1);
    c->turn = query_get_integer(q, 2);
    return 1;
}

/* The row that the hand comes to: 1, or 0 if it has come to the end. */
static int next_candidate(struct evict *v, struct candidate *c, struct error *e)
{
    if (v->has_orphans) {
        autoquery struct query orphans = query_start(index_writer(v->x), SQL_NEXT_ORPHAN);
        int got = get_candidate(&orphans, c, e);
        if (got != 0)
            return got;
        v->has_orphans = false;
    }
    autoquery struct query q = query_start(index_writer(v->x), SQL_NEXT_TURN);
    query_integer(&q, v->hand_turn);
    query_digest(&q, v->hand_digest.algorithm ? &v->hand_digest : NULL);
    int got = get_candidate(&q, c, e);
    if (got == 1) {
        v->hand_turn = c->turn;
        v->hand_digest = c->digest;
    }
    return got;
}

/* Memory is ahead of the rows: a use may be on its way to the ledger, or not have got there. */
static bool take_use(struct evict *v, const struct digest *d)
{
    return v->listener.take_use && !v->is_dry && v->listener.take_use(v->listener.cls, d);
}

/* Takes back the uses of it and of what goes with it: 1 if there were any. */
static int spare_used(struct evict *v, const struct candidate *c, struct error *e)
{
    struct digest used[SPARED_MAX];
    int count = 0, got = 0;
    if (v->is_hasty)
        return 0;
    {
        autoquery struct query q = query_start(index_writer(v->x), SQL_EACH_USED);
        query_digest(&q, &c->digest);
        query_integer(&q, SPARED_MAX);
        while (count < SPARED_MAX && (got = query_step(&q, e)) > 0)
            if (query_get_digest(&q, 0, &used[count++], e) < 0)
                return -1;
        if (count < SPARED_MAX && got < 0)
            return -1;
    }
    for (int i = 0; i < count; i++) {
        if (run(v, SQL_CLEAR_USED, &used[i], e) < 0)
            return -1;
        take_use(v, &used[i]);
    }
    return count > 0;
}

static bool is_read(struct evict *v, const struct digest *d)
{
    return v->listener.is_read && v->listener.is_read(v->listener.cls, d);
}

/* 1: it stays, for now. */
static int is_spared(struct evict *v, const struct candidate *c, struct error *e)
{
    int got = ask(v, SQL_FIND_PARENT, &c->digest, e);
    if (got == 0)
        got = spare_used(v, c, e);
    if (got == 0)
        got = index_is_below_pin(v->x, &c->digest, e);
    return got == 0 ? is_read(v, &c->digest) || take_use(v, &c->digest) : got;
}

/* --- going ------------------------------------------------------------------------------------ */

static void tell(struct evict *v, const struct candidate *c)
{
    if (!v->visit)
        return;
    struct evicted gone = {
        .digest = c->digest, .size_bytes = c->size_bytes, .is_part = c->turn == 0, .image = ""};
    autoquery struct query q = query_start(index_writer(v->x), SQL_IMAGE_OF);
    query_digest(&q, &c->digest);
    if (query_step(&q, NULL) == 1)
        gone.image = query_get_text(&q, 0);
    v->visit(&gone, v->cls);
}

static int remove_rows(struct evict *v, const struct digest *d, struct error *e)
{
    static const enum sql_name before[] = {SQL_ORPHAN_CHILDREN, SQL_REMOVE_CHILD_HOLDS,
                                           SQL_REMOVE_HOLDS, SQL_REMOVE_TAGS_OF};
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        if (run(v, before[i], d, e) < 0)
            return -1;
    v->has_orphans = true;
    return index_remove_blob(v->x, d, e);
}

static int let_go(struct evict *v, const struct candidate *c, struct error *e)
{
    tell(v, c);
    v->freed += room_of_file(c->size_bytes);
    v->fruitless = 0;
    if (!v->is_dry) {
        if (store_remove(v->store, &c->digest, e) < 0)
            return -1;
        evict_tell_gone(v, &c->digest);
        metric_add(evicted_blobs_total, 1);
        metric_add(evicted_bytes_total, (int64_t)c->size_bytes);
    }
    return remove_rows(v, &c->digest, e);
}

/* One row: 1 something went, 0 nothing did, -1. */
static int pass_one(struct evict *v, struct error *e)
{
    struct candidate c;
    int got = next_candidate(v, &c, e);
    if (got < 0)
        return -1;
    if (got == 0) { /* the hand begins its next turn */
        v->hand_turn = 0;
        v->hand_digest = (struct digest){0};
        v->fruitless++;
        return 0;
    }
    got = is_spared(v, &c, e);
    if (got < 0)
        return -1;
    if (got == 1) /* an orphan that stays has its turn like any other */
        return c.turn == 0 ? index_renew(v->x, &c.digest, e) : 0;
    return let_go(v, &c, e) < 0 ? -1 : 1;
}

/* Content on its way in that nobody has worked on for longest. */
static bool take_resting(struct evict *v)
{
    struct evicted gone = {.is_partial = true, .image = ""};
    int64_t bytes = room_take_resting(v->room, &gone.digest);
    if (bytes == 0)
        return false;
    store_partial_remove(v->store, &gone.digest);
    v->freed += bytes;
    gone.size_bytes = (uint64_t)bytes;
    if (v->visit)
        v->visit(&gone, v->cls);
    return true;
}

static bool is_fruitless(const struct evict *v)
{
    return v->fruitless >= FRUITLESS_TURNS;
}

/* Rows until `excess` bytes are freed, or the slice is over. */
static int pass_rows(struct evict *v, int64_t excess, int64_t until_us, struct error *e)
{
    for (int i = 0; v->freed < excess && !is_fruitless(v); i++) {
        if (i == SLICE_ROWS || clock_mono_us() >= until_us)
            return 0;
        if (pass_one(v, e) < 0)
            return -1;
    }
    return 0;
}

static int slice(struct evict *v, int64_t excess, struct error *e)
{
    int64_t until_us = clock_mono_us() + SLICE_US;
    v->freed = 0;
    if ((v->freed = quarantine_drop(v->store)) > 0 || take_resting(v))
        return 0;
    if (index_begin(v->x, e) < 0)
        return -1;
    if (pass_rows(v, excess, until_us, e) == 0 && index_commit(v->x, e) == 0) {
        v->is_hasty = false;
        return 0;
    }
    index_rollback(v->x);
    v->is_hasty = e->kind == ERR_NO_SPACE;
    return -1;
}

/* --- driving it ------------------------------------------------------------------------------- */

static void rest(struct evict *v, int64_t now_ms)
{
    int64_t took_ms = now_ms - v->began_ms;
    v->rest_until_ms = now_ms + (took_ms * 10 > REST_MS ? took_ms * 10 : REST_MS);
    v->is_running = false;
}

static void give_up(struct evict *v, int64_t now_ms, int64_t excess)
{
    if (!v->is_stuck)
        log_event(LOG_LEVEL_WARNING, "nothing more may be evicted", LOG_I("excess", excess),
                  LOG_I("taken", room_taken(v->room)), LOG_I("limit", room_limit(v->room)),
                  LOG_END);
    v->is_stuck = true;
    room_set_stuck(v->room, true);
    rest(v, now_ms);
}

bool evict_step(struct evict *v)
{
    struct error e = {0};
    int64_t now_ms = clock_mono_ms();
    int64_t excess = room_excess(v->room, v->is_running ? LOW_PERCENT : HIGH_PERCENT);
    if (excess == 0 || now_ms < v->rest_until_ms) {
        v->is_running = v->is_running && excess > 0;
        return false;
    }
    if (!v->is_running) {
        v->is_running = true;
        v->began_ms = now_ms;
        v->fruitless = 0;
        excess = room_excess(v->room, LOW_PERCENT);
    }
    if (slice(v, excess, &e) < 0) {
        if (e.kind != ERR_NO_SPACE) /* that is told where content is refused for it */
            log_event(LOG_LEVEL_ERROR, "eviction failed", LOG_S("reason", e.text), LOG_END);
        metric_add(ledger_errors_total, 1);
        room_set_stuck(v->room, true); /* whoever waits for it need not */
        rest(v, now_ms);
        return false;
    }
    if (is_fruitless(v)) {
        give_up(v, clock_mono_ms(), excess);
        return false;
    }
    if (v->freed > 0)
        v->is_stuck = false;
    return true;
}

/* All in one transaction that is undone. */
static int rehearse(struct evict *v, int64_t excess, struct error *e)
{
    const struct evict before = *v;
    int result = index_begin(v->x, e);
    v->is_dry = true;
    v->freed = 0;
    v->fruitless = 0;
    while (result == 0 && v->freed < excess && !is_fruitless(v))
        result = pass_one(v, e) < 0 ? -1 : 0;
    index_rollback(v->x);
    *v = before;
    return result;
}

/* The hand's place is shared with evict_step, which may go on in between; the count of its turns
 * that found nothing is not. */
static int slice_of_order(struct evict *v, struct evict_order *o, struct error *e)
{
    unsigned others = v->fruitless;
    v->fruitless = o->fruitless;
    int result = slice(v, o->left, e);
    o->left -= v->freed;
    o->fruitless = v->fruitless;
    bool is_done = o->left <= 0 || is_fruitless(v);
    v->fruitless = others;
    return result < 0 ? -1 : !is_done;
}

int evict_some(struct evict *v, struct evict_order *o, struct error *e)
{
    if (!o->has_begun)
        o->left = o->bytes < 0 ? room_excess(v->room, LOW_PERCENT) : room_taken(v->room) - o->bytes;
    o->has_begun = true;
    if (o->left <= 0)
        return 0;
    v->visit = o->visit;
    v->cls = o->cls;
    int result = o->is_dry ? rehearse(v, o->left, e) : slice_of_order(v, o, e);
    v->visit = NULL;
    return result;
}
