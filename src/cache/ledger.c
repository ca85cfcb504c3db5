/* SPDX-License-Identifier: Apache-2.0
 * The durable thread. Takes letters in groups and does each group in three steps: files, one sync
 * of the folders, one transaction; then tells. Knows the order of becoming durable and nothing of
 * why something is stored. What fails is told to its sender and forgotten: the files of a group
 * whose transaction failed stay, for their names are true, and are adopted once it goes again. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "cache/index.h"
#include "cache/ledger_inside.h"
#include "cache/quarantine.h"
#include "cache/room.h"
#include "cache/store.h"

#define QUEUE_MAX 65536u
#define GROUP_MAX 256u
#define MEND_AGAIN_MS 10000
#define COMPARE_AFTER_MS 10000 /* without a failure */
#define TICK_MS 1000           /* to see whether something must go, if no letter comes */

struct group {
    struct entry *entries[GROUP_MAX];
    size_t count;
};

static bool holds_rows(const struct entry *n)
{
    return n->kind < ENTRY_REMOVE_PARTIAL;
}

static bool is_publish(const struct entry *n)
{
    return n->kind == ENTRY_PUBLISH || n->kind == ENTRY_MANIFEST;
}

/* --- a group: the ledger's thread ------------------------------------------------------------- */

/* A disk that is full fails one after the other: that is told once a while. */
static void note_failure(struct ledger *l, const char *message, const struct entry *n,
                         const struct error *why)
{
    char digest[DIGEST_TEXT_MAX] = "";
    metric_add(ledger_errors_total, 1);
    if (why->kind == ERR_NO_SPACE) {
        room_note_full(store_room(l->store));
        room_note_passing(store_room(l->store), why->text);
        return;
    }
    if (n && n->digest.algorithm)
        digest_print(&n->digest, digest);
    log_event(LOG_LEVEL_ERROR, message, LOG_S("digest", *digest ? digest : NULL),
              LOG_S("repository", n ? n->repository : NULL), LOG_S("reason", why->text), LOG_END);
}

/* That is mended soon. Of nothing but the index: other work calls other things broken. */
static void note_broken(struct ledger *l, const struct error *why)
{
    if (why->kind != ERR_CORRUPT || l->broken.kind != ERR_NONE)
        return;
    l->broken = *why;
    l->mend_at_ms = 0;
}

/* Something was done to files of which the rows may not tell. */
static void note_apart(struct ledger *l)
{
    l->compare_at_ms = clock_mono_ms() + COMPARE_AFTER_MS;
}

static void collect(struct ledger *l, struct group *g, int64_t timeout_ms)
{
    g->count = 0;
    struct letter *letter = mailbox_take(l->mailbox, timeout_ms);
    while (letter) {
        metric_add(ledger_queue, -1);
        g->entries[g->count++] = (struct entry *)letter; /* its first member */
        letter = g->count < GROUP_MAX ? mailbox_take(l->mailbox, 0) : NULL;
    }
}

/* Nothing was reserved for it, for it is small; but where nothing may go there is an end. */
static int publish_manifest(struct ledger *l, struct entry *n, struct error *e)
{
    struct room *room = store_room(l->store);
    if (room_is_stuck(room) && room_taken(room) + room_of_file(n->length) > room_limit(room))
        return error_set(e, ERR_NO_SPACE, "nothing may go, and nothing more fits");
    return store_publish_bytes(l->store, &n->digest, n->body, n->length, e);
}

/* Where there is no file any more the row goes all the same; where there is another, it stays. */
static int set_aside(struct ledger *l, struct entry *n, struct error *e)
{
    int got = quarantine_take(l->store, &n->digest, n->fd, e);
    if (got == 1)
        metric_add(set_aside_blobs_total, 1);
    if (got == 0 && store_has(l->store, &n->digest, NULL))
        error_set(e, ERR_NOT_FOUND, "it was replaced meanwhile");
    return got;
}

static void do_file(struct ledger *l, struct entry *n)
{
    struct error *e = &n->error;
    switch (n->kind) {
    case ENTRY_PUBLISH:
        if (store_publish(l->store, &n->digest, n->fd, e) < 0)
            note_failure(l, "blob not stored", n, e);
        break;
    case ENTRY_MANIFEST:
        if (publish_manifest(l, n, e) < 0)
            note_failure(l, "manifest not stored", n, e);
        break;
    case ENTRY_REMOVE_BLOB:
        if (store_remove(l->store, &n->digest, e) < 0)
            note_failure(l, "blob not removed", n, e);
        break;
    case ENTRY_SET_ASIDE:
        if (set_aside(l, n, e) < 0)
            note_failure(l, "blob not set aside", n, e);
        break;
    case ENTRY_REMOVE_PARTIAL:
        store_partial_remove(l->store, &n->digest);
        break;
    default:
        break;
    }
}

/* What was published without its name being durable counts as not published. */
static void do_files(struct ledger *l, struct group *g)
{
    struct error e = {0};
    size_t published = 0;
    for (size_t i = 0; i < g->count; i++) {
        do_file(l, g->entries[i]);
        published += is_publish(g->entries[i]);
    }
    /* That something went need not be durable. */
    if (!published || store_sync(l->store, &e) == 0)
        return;
    note_failure(l, "folders not synced", NULL, &e);
    note_apart(l);
    for (size_t i = 0; i < g->count; i++)
        if (is_publish(g->entries[i]) && g->entries[i]->error.kind == ERR_NONE)
            g->entries[i]->error = e;
}

static int put_manifest_rows(struct index *x, const struct entry *n, struct error *e)
{
    if (index_put_blob(x, &n->digest, n->length, n->now_s, e) < 0 ||
        index_put_manifest(x, &n->digest, &n->manifest, n->registry, n->repository, e) < 0)
        return -1;
    if (!n->name)
        return 0;
    return index_put_tag(x, n->registry, n->repository, n->name, &n->digest, n->now_s, e);
}

static int put_blob_rows(struct index *x, const struct entry *n, struct error *e)
{
    if (index_put_blob(x, &n->digest, (uint64_t)n->size_bytes, n->now_s, e) < 0)
        return -1;
    if (!n->registry || !n->repository)
        return 0;
    return index_put_hold(x, n->registry, n->repository, &n->digest, n->size_bytes, e);
}

static int do_rows(struct index *x, struct entry *n, struct error *e)
{
    switch (n->kind) {
    case ENTRY_PUBLISH:
        return put_blob_rows(x, n, e);
    case ENTRY_MANIFEST:
        return put_manifest_rows(x, n, e);
    case ENTRY_HOLD:
        return index_put_hold(x, n->registry, n->repository, &n->digest, n->size_bytes, e);
    case ENTRY_TAG:
        return index_put_tag(x, n->registry, n->repository, n->name, &n->digest, n->now_s, e);
    case ENTRY_REMOVE_TAG:
        return index_remove_tag(x, n->registry, n->repository, n->name, e);
    case ENTRY_LISTING:
        return index_put_listing(x, n->registry, n->repository, n->name, n->key, n->body, n->length,
                                 n->now_s, e);
    case ENTRY_TOUCH:
        return index_touch(x, &n->digest, n->now_s, e);
    case ENTRY_HITS:
        return index_add_hits(x, &n->digest, n->size_bytes, e);
    case ENTRY_PIN:
        return index_put_pin(x, n->registry, n->repository, n->name, n->now_s, e);
    case ENTRY_REMOVE_BLOB:
        return index_remove_blob(x, &n->digest, e);
    case ENTRY_SET_ASIDE:
        return index_lose_blob(x, &n->digest, e);
    default:
        break;
    }
    return 0;
}

/* A popular blob is touched by every request: the last touch in the group stands for all. */
static bool is_touched_again(const struct group *g, size_t i)
{
    const struct entry *n = g->entries[i];
    if (n->kind != ENTRY_TOUCH)
        return false;
    for (size_t k = i + 1; k < g->count; k++)
        if (g->entries[k]->kind == ENTRY_TOUCH && digest_equals(&g->entries[k]->digest, &n->digest))
            return true;
    return false;
}

static bool wants_rows(const struct group *g, size_t i)
{
    const struct entry *n = g->entries[i];
    return holds_rows(n) && n->error.kind == ERR_NONE && !is_touched_again(g, i);
}

static int write_rows(struct ledger *l, const struct group *g, struct error *e)
{
    if (index_begin(l->x, e) < 0)
        return -1;
    for (size_t i = 0; i < g->count; i++)
        if (wants_rows(g, i) && do_rows(l->x, g->entries[i], e) < 0)
            return -1;
    return index_commit(l->x, e);
}

static void do_transaction(struct ledger *l, struct group *g)
{
    struct error e = {0};
    size_t waiting = 0;
    for (size_t i = 0; i < g->count; i++)
        waiting += wants_rows(g, i);
    if (!waiting || write_rows(l, g, &e) == 0)
        return;
    index_rollback(l->x);
    note_failure(l, "index not written", NULL, &e);
    note_broken(l, &e);
    note_apart(l);
    for (size_t i = 0; i < g->count; i++) {
        struct entry *n = g->entries[i];
        if (!holds_rows(n) || n->error.kind != ERR_NONE)
            continue;
        n->error = e;
        /* Where the disk is full, a file that nobody finds and nothing evicts must not stay. */
        if (e.kind == ERR_NO_SPACE && is_publish(n))
            store_remove(l->store, &n->digest, NULL);
    }
}

static void tell_evict(struct ledger *l, struct group *g)
{
    for (size_t i = 0; i < g->count; i++) {
        struct entry *n = g->entries[i];
        if (n->kind == ENTRY_LISTEN)
            evict_listen(l->evict, &n->listener);
        else if (n->kind == ENTRY_SET_ASIDE && n->is_remembered && n->error.kind == ERR_NONE)
            evict_tell_gone(l->evict, &n->digest);
    }
}

/* Its turn comes again, unless the ledger is stopping; then it is done at once. */
static bool is_put_off(struct ledger *l, struct group *g, size_t i)
{
    metric_add(ledger_queue, 1);
    if (mailbox_post_always(l->mailbox, &g->entries[i]->letter)) {
        g->entries[i] = NULL;
        return true;
    }
    metric_add(ledger_queue, -1);
    return false;
}

/* As ledger_work: 1 more is to do, 0 done, -1. */
static int do_evict(struct ledger *l, struct entry *n)
{
    if (!index_is_agreeing(l->x))
        return evict_some(l->evict, n->order, &n->error);
    error_set(&n->error, ERR_BUSY, "the index is being made anew from the files");
    return -1;
}

static void do_work(struct ledger *l, struct group *g)
{
    for (size_t i = 0; i < g->count; i++) {
        struct entry *n = g->entries[i];
        if (n->kind != ENTRY_RUN && n->kind != ENTRY_EVICT)
            continue;
        int got;
        do
            got = n->kind == ENTRY_EVICT ? do_evict(l, n)
                                         : n->work(l->store, l->x, n->cls, &n->error);
        while (got > 0 && !is_put_off(l, g, i));
        if (got < 0 && error_http_status(n->error.kind) >= 500) { /* else it cannot be: told */
            note_failure(l, "work on the index failed", NULL, &n->error);
            note_apart(l);
        }
    }
}

static void tell(struct group *g)
{
    for (size_t i = 0; i < g->count; i++) {
        struct entry *n = g->entries[i];
        if (!n) /* put off */
            continue;
        bool is_well = n->error.kind == ERR_NONE;
        if (is_well && is_publish(n)) {
            metric_add(stored_blobs_total, 1);
            metric_add(stored_bytes_total, n->size_bytes);
        }
        if (n->done)
            n->done(n->cls, is_well ? NULL : &n->error);
        ledger_entry_free(n);
    }
}

/* The file, once a second; less often what cannot be mended now. */
static void look_after_index(struct ledger *l)
{
    struct error e;
    int64_t now_ms = clock_mono_ms();
    if (now_ms < l->mend_at_ms)
        return;
    bool is_well = index_mend(l->x, l->broken.kind != ERR_NONE ? &l->broken : NULL, &e) == 0;
    if (is_well)
        l->broken.kind = ERR_NONE;
    l->mend_at_ms = now_ms + (is_well ? TICK_MS : MEND_AGAIN_MS);
}

/* Once that goes again: index_step then does what is found. */
static void compare_again(struct ledger *l)
{
    struct error e;
    if (l->compare_at_ms == 0 || clock_mono_ms() < l->compare_at_ms || index_is_agreeing(l->x))
        return;
    l->compare_at_ms = 0;
    if (index_compare(l->x, &e) == 0)
        return;
    note_failure(l, "index not compared with the files", NULL, &e);
    note_apart(l);
}

/* Some of what waits for nobody's letter. true: there is more. Where the disk is too full for rows,
 * something has to go although not all are there. */
static bool do_own_work(struct ledger *l)
{
    struct error e;
    look_after_index(l);
    compare_again(l);
    int got = index_is_agreeing(l->x) ? index_step(l->x, &e) : 0;
    if (got > 0)
        return true;
    if (got < 0) {
        note_failure(l, "index not brought in line with the files", NULL, &e);
        note_broken(l, &e);
    }
    return (got == 0 || e.kind == ERR_NO_SPACE) && evict_step(l->evict);
}

static void *run(void *cls)
{
    struct ledger *l = cls;
    struct group g;
    while (!mailbox_is_over(l->mailbox)) {
        room_set_index(store_room(l->store), index_disk_bytes(l->x));
        collect(l, &g, do_own_work(l) ? 0 : TICK_MS);
        do_files(l, &g);
        do_transaction(l, &g);
        tell_evict(l, &g);
        do_work(l, &g);
        tell(&g);
    }
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

struct ledger *ledger_start(struct store *s, struct index *x, struct error *e)
{
    struct ledger *l = alloc_zero(sizeof(*l));
    l->store = s;
    l->x = x;
    l->mailbox = mailbox_new(QUEUE_MAX, NULL, NULL);
    l->evict = evict_new(s, x);
    if (thread_start(&l->thread, "ledger", run, l, e) < 0) {
        mailbox_free(l->mailbox);
        evict_free(l->evict);
        free(l);
        return NULL;
    }
    return l;
}

void ledger_stop(struct ledger *l)
{
    if (!l)
        return;
    mailbox_close(l->mailbox);
    pthread_join(l->thread, NULL);
    mailbox_free(l->mailbox);
    evict_free(l->evict);
    free(l);
}
