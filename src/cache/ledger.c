/* SPDX-License-Identifier: Apache-2.0
 * The durable thread. Takes letters in groups and does each group in three steps: files, one sync
 * of the folders, one transaction; then tells. Knows the order of becoming durable and nothing of
 * why something is stored. What fails is told to its sender and forgotten: the files of a group
 * whose transaction failed stay, for their names are true, and the next start adopts them. */
#include "cache/ledger.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "cache/evict.h"
#include "cache/index.h"
#include "cache/quarantine.h"
#include "cache/room.h"
#include "cache/store.h"
#include "oci/manifest.h"

#define QUEUE_MAX 65536u
#define GROUP_MAX 256u
#define MEND_AGAIN_MS 10000
#define TICK_MS 1000 /* to see whether something must go, if no letter comes */

enum entry_kind {
    ENTRY_PUBLISH,
    ENTRY_MANIFEST,
    ENTRY_HOLD,
    ENTRY_TAG,
    ENTRY_REMOVE_TAG,
    ENTRY_LISTING,
    ENTRY_TOUCH,
    ENTRY_HITS,
    ENTRY_PIN,
    ENTRY_REMOVE_BLOB,
    ENTRY_SET_ASIDE,
    ENTRY_REMOVE_PARTIAL,
    ENTRY_LISTEN,
    ENTRY_MAKE_ROOM,
    ENTRY_EVICT,
    ENTRY_RUN,
};

struct entry {
    struct letter letter;
    enum entry_kind kind;
    int fd;             /* PUBLISH: borrowed; SET_ASIDE: its own, or -1 */
    int64_t size_bytes; /* PUBLISH, HOLD; -1 unknown; HITS: how many */
    int64_t now_s;      /* when it was posted: that is when it was so */
    struct digest digest;
    char *registry, *repository; /* NULL: of none */
    char *name; /* TAG, REMOVE_TAG, MANIFEST (or NULL): the tag; LISTING: the kind; PIN: the
                   reference */
    char *key;  /* LISTING */
    char *body; /* LISTING, MANIFEST */
    size_t length;
    struct manifest manifest;       /* MANIFEST: a copy */
    struct evict_listener listener; /* LISTEN */
    ledger_work work;               /* RUN */
    struct evict_order *order;      /* EVICT */
    bool is_remembered;             /* SET_ASIDE */
    ledger_done done;               /* or NULL */
    void *cls;
    struct error error; /* ERR_NONE while all went well */
};

struct ledger {
    struct store *store;
    struct index *x;
    struct mailbox *mailbox;
    struct evict *evict;
    int64_t mend_at_ms;  /* when the index is looked at next */
    struct error broken; /* what was last told of it, if it was that it is broken */
    pthread_t thread;
};

struct group {
    struct entry *entries[GROUP_MAX];
    size_t count;
};

/* --- entries ---------------------------------------------------------------------------------- */

static char *copy_or_null(const char *text)
{
    return text ? alloc_string(text) : NULL;
}

static struct entry *entry_new(enum entry_kind kind, const char *registry, const char *repository,
                               const struct digest *d)
{
    struct entry *n = alloc_zero(sizeof(*n));
    n->kind = kind;
    n->fd = -1;
    n->now_s = clock_wall_s();
    n->registry = copy_or_null(registry);
    n->repository = copy_or_null(repository);
    if (d)
        n->digest = *d;
    return n;
}

static void entry_free(struct entry *n)
{
    free(n->registry);
    free(n->repository);
    free(n->name);
    free(n->key);
    free(n->body);
    if (n->kind == ENTRY_MANIFEST)
        manifest_fini(&n->manifest);
    if (n->kind == ENTRY_SET_ASIDE && n->fd >= 0)
        close(n->fd);
    free(n);
}

static void copy_manifest(struct manifest *to, const struct manifest *from)
{
    *to = *from;
    to->artifact_type = copy_or_null(from->artifact_type);
    to->annotations = copy_or_null(from->annotations);
    to->children = NULL;
    if (!from->child_count)
        return;
    to->children = alloc_array(from->child_count, sizeof(*to->children));
    for (size_t i = 0; i < from->child_count; i++) {
        to->children[i] = from->children[i];
        to->children[i].media_type = copy_or_null(from->children[i].media_type);
        to->children[i].platform = copy_or_null(from->children[i].platform);
    }
}

static bool holds_rows(const struct entry *n)
{
    return n->kind < ENTRY_REMOVE_PARTIAL;
}

static bool is_publish(const struct entry *n)
{
    return n->kind == ENTRY_PUBLISH || n->kind == ENTRY_MANIFEST;
}

/* --- posting: any thread ---------------------------------------------------------------------- */

/* Counted before it is posted, as the ledger may take it before this thread goes on. */
static bool post(struct ledger *l, struct entry *n, bool is_always)
{
    metric_add(ledger_queue, 1);
    if (is_always ? mailbox_post_always(l->mailbox, &n->letter)
                  : mailbox_post(l->mailbox, &n->letter))
        return true;
    metric_add(ledger_queue, -1);
    entry_free(n);
    return false;
}

static void post_or_drop(struct ledger *l, struct entry *n)
{
    if (!post(l, n, false))
        metric_add(ledger_errors_total, 1);
}

bool ledger_publish(struct ledger *l, const struct digest *d, int fd, uint64_t size_bytes,
                    const char *registry, const char *repository, ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_PUBLISH, registry, repository, d);
    n->fd = fd;
    n->size_bytes = (int64_t)size_bytes;
    n->done = done;
    n->cls = cls;
    return post(l, n, true);
}

bool ledger_publish_manifest(struct ledger *l, const struct digest *d, const void *bytes,
                             size_t length, const struct manifest *m, const char *registry,
                             const char *repository, const char *tag, ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_MANIFEST, registry, repository, d);
    n->body = alloc_bytes(bytes, length);
    n->length = length;
    n->size_bytes = (int64_t)length;
    n->name = copy_or_null(tag);
    n->done = done;
    n->cls = cls;
    copy_manifest(&n->manifest, m);
    return post(l, n, true);
}

bool ledger_run(struct ledger *l, ledger_work work, ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_RUN, NULL, NULL, NULL);
    n->work = work;
    n->done = done;
    n->cls = cls;
    return post(l, n, true);
}
void ledger_put_hold(struct ledger *l, const char *registry, const char *repository,
                     const struct digest *d, int64_t size_bytes)
{
    struct entry *n = entry_new(ENTRY_HOLD, registry, repository, d);
    n->size_bytes = size_bytes;
    post_or_drop(l, n);
}

void ledger_put_tag(struct ledger *l, const char *registry, const char *repository, const char *tag,
                    const struct digest *d)
{
    struct entry *n = entry_new(ENTRY_TAG, registry, repository, d);
    n->name = alloc_string(tag);
    post_or_drop(l, n);
}

void ledger_remove_tag(struct ledger *l, const char *registry, const char *repository,
                       const char *tag)
{
    struct entry *n = entry_new(ENTRY_REMOVE_TAG, registry, repository, NULL);
    n->name = alloc_string(tag);
    post_or_drop(l, n);
}

void ledger_put_listing(struct ledger *l, const char *registry, const char *repository,
                        const char *kind, const char *key, const char *body, size_t length)
{
    struct entry *n = entry_new(ENTRY_LISTING, registry, repository, NULL);
    n->name = alloc_string(kind);
    n->key = alloc_string(key);
    n->body = alloc_bytes(body, length);
    n->length = length;
    post_or_drop(l, n);
}

void ledger_touch(struct ledger *l, const struct digest *d)
{
    post_or_drop(l, entry_new(ENTRY_TOUCH, NULL, NULL, d));
}

void ledger_add_hits(struct ledger *l, const struct digest *d, int64_t hits)
{
    struct entry *n = entry_new(ENTRY_HITS, NULL, NULL, d);
    n->size_bytes = hits;
    post_or_drop(l, n);
}

bool ledger_pin(struct ledger *l, const char *registry, const char *repository,
                const char *reference, ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_PIN, registry, repository, NULL);
    n->name = alloc_string(reference);
    n->done = done;
    n->cls = cls;
    return post(l, n, true);
}

void ledger_remove_blob(struct ledger *l, const struct digest *d)
{
    post_or_drop(l, entry_new(ENTRY_REMOVE_BLOB, NULL, NULL, d));
}

bool ledger_set_aside(struct ledger *l, const struct digest *d, int fd, bool is_remembered,
                      ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_SET_ASIDE, NULL, NULL, d);
    n->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    n->is_remembered = is_remembered;
    n->done = done;
    n->cls = cls;
    return post(l, n, true);
}

void ledger_remove_partial(struct ledger *l, const struct digest *d)
{
    post_or_drop(l, entry_new(ENTRY_REMOVE_PARTIAL, NULL, NULL, d));
}

void ledger_listen(struct ledger *l, const struct evict_listener *e)
{
    struct entry *n = entry_new(ENTRY_LISTEN, NULL, NULL, NULL);
    n->listener = *e;
    post(l, n, true);
}

void ledger_make_room(struct ledger *l)
{
    post_or_drop(l, entry_new(ENTRY_MAKE_ROOM, NULL, NULL, NULL));
}

bool ledger_evict(struct ledger *l, struct evict_order *o, ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_EVICT, NULL, NULL, NULL);
    n->order = o;
    n->done = done;
    n->cls = cls;
    return post(l, n, true);
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
    case ENTRY_SET_ASIDE:
        return index_remove_blob(x, &n->digest, e);
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
        if (got < 0 && error_http_status(n->error.kind) >= 500) /* else it cannot be, and is told */
            note_failure(l, "work on the index failed", NULL, &n->error);
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
        entry_free(n);
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

/* Some of what waits for nobody's letter. true: there is more. Where the disk is too full for rows,
 * something has to go although not all are there. */
static bool do_own_work(struct ledger *l)
{
    struct error e;
    look_after_index(l);
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
