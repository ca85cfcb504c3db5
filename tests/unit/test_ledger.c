/* SPDX-License-Identifier: Apache-2.0
 * The durable thread: what is told is so, what fails fails alone, what waits is done before the
 * end. A gate (a sender that does not return from being told) holds the thread, so that a test
 * decides what lands in one group. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "cache/evict.h"
#include "cache/index.h"
#include "cache/ledger.h"
#include "cache/room.h"
#include "data_folder.h"
#include "oci/manifest.h"

#define HUB "docker.io"
#define ALPINE "library/alpine"

struct running {
    struct data_folder *folder;
    struct index *x;
    struct index_reader *r;
    struct ledger *l;
};

static void start(struct running *n)
{
    struct error e = {0};
    bool rebuilt = false;
    n->x = index_open(n->folder->store, &rebuilt, &e);
    if (!n->x)
        fail_msg("%s", e.text);
    n->r = index_reader_open(n->x, &e);
    n->l = ledger_start(n->folder->store, n->x, &e);
    if (!n->r || !n->l)
        fail_msg("%s", e.text);
}

static void stop_ledger(struct running *n)
{
    ledger_stop(n->l);
    n->l = NULL;
}

static void stop(struct running *n)
{
    stop_ledger(n);
    index_reader_close(n->r);
    index_close(n->x);
}

static int setup(void **state)
{
    struct running *n = calloc(1, sizeof(*n));
    assert_non_null(n);
    folder_setup((void **)&n->folder);
    start(n);
    *state = n;
    return 0;
}

static int teardown(void **state)
{
    struct running *n = *state;
    stop(n);
    folder_teardown((void **)&n->folder);
    free(n);
    return 0;
}

/* --- being told ------------------------------------------------------------------------------- */

struct told {
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t is_changed;
    unsigned well, badly;
    unsigned gone;
    struct error last;
    bool is_shut; /* the gate: who is told waits while it is shut */
    bool is_held; /* somebody waits at the gate */
};

#define TOLD_INIT                                                                                  \
    {                                                                                              \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .is_changed = PTHREAD_COND_INITIALIZER                 \
    }

static void on_done(void *cls, const struct error *e)
{
    struct told *t = cls;
    pthread_mutex_lock(&t->mutex);
    if (e)
        t->last = *e;
    *(e ? &t->badly : &t->well) += 1;
    pthread_cond_broadcast(&t->is_changed);
    while (t->is_shut) {
        t->is_held = true;
        pthread_cond_broadcast(&t->is_changed);
        pthread_cond_wait(&t->is_changed, &t->mutex);
    }
    pthread_mutex_unlock(&t->mutex);
}

static void await(struct told *t, unsigned count)
{
    pthread_mutex_lock(&t->mutex);
    while (t->well + t->badly < count)
        pthread_cond_wait(&t->is_changed, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
}

static void post_bytes(struct running *n, const char *text, const char *tag, struct told *t)
{
    struct digest d = digest_of_text(text);
    struct manifest m = {.media_type = MEDIA_OCI_INDEX, .is_index = true};
    assert_true(ledger_publish_manifest(n->l, &d, text, strlen(text), &m, HUB, ALPINE, tag,
                                        t ? on_done : NULL, t));
}

/* Holds the ledger's thread until open_gate: what is posted meanwhile becomes one group (up to its
 * limit). */
static void shut_gate(struct running *n, struct told *gate)
{
    gate->is_shut = true;
    post_bytes(n, "gate", NULL, gate);
    pthread_mutex_lock(&gate->mutex);
    while (!gate->is_held)
        pthread_cond_wait(&gate->is_changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static void open_gate(struct told *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->is_shut = false;
    pthread_cond_broadcast(&gate->is_changed);
    pthread_mutex_unlock(&gate->mutex);
}

/* The partial file of that text, filled; the caller closes it once told. */
static int make_partial(struct running *n, const char *text)
{
    struct digest d = digest_of_text(text);
    int fd = store_partial_open(n->folder->store, &d, NULL);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, text, strlen(text), 0), strlen(text));
    return fd;
}

static void post_blob(struct running *n, const char *text, int fd, struct told *t)
{
    struct digest d = digest_of_text(text);
    assert_true(ledger_publish(n->l, &d, fd, strlen(text), HUB, ALPINE, on_done, t));
}

static int find_blob(struct running *n, const char *text)
{
    struct digest d = digest_of_text(text);
    uint64_t size = 0;
    return index_find_blob(n->r, &d, &size, NULL);
}

static int is_stored(struct running *n, const char *text)
{
    struct digest d = digest_of_text(text);
    return store_has(n->folder->store, &d, NULL);
}

/* --- publishing ------------------------------------------------------------------------------- */

static void published_blob_is_held_and_has_its_rows_when_told(void **state)
{
    struct running *n = *state;
    bool is_proven = false;
    struct told t = TOLD_INIT;
    struct digest d = digest_of_text("a layer");
    int64_t size = 0, blobs = metric_get(stored_blobs_total),
            bytes = metric_get(stored_bytes_total);
    int fd = make_partial(n, "a layer");
    post_blob(n, "a layer", fd, &t);
    await(&t, 1);
    close(fd);
    assert_int_equal(t.well, 1);
    assert_true(is_stored(n, "a layer"));
    assert_int_equal(find_blob(n, "a layer"), 1);
    assert_int_equal(index_find_hold(n->r, HUB, ALPINE, &d, &size, &is_proven, NULL), 1);
    assert_int_equal(size, 7);
    assert_int_equal(count_names(n->folder, "ingest"), 0);
    assert_int_equal(metric_get(stored_blobs_total) - blobs, 1);
    assert_int_equal(metric_get(stored_bytes_total) - bytes, 7);
}

static void published_manifest_brings_its_tag_and_what_it_names(void **state)
{
    struct running *n = *state;
    bool is_proven = false;
    struct told t = TOLD_INIT;
    struct index_tag tag;
    struct index_manifest found;
    struct manifest m;
    int64_t size = 0;
    char layer_text[DIGEST_TEXT_MAX];
    struct digest layer = digest_of_text("layer");
    char *text = alloc_format("{\"schemaVersion\":2,\"config\":{\"digest\":\"%s\",\"size\":5},"
                              "\"layers\":[]}",
                              digest_print(&layer, layer_text));
    struct digest d = digest_of_text(text);
    assert_int_equal(manifest_parse(NULL, text, strlen(text), &m, NULL), 0);
    assert_true(ledger_publish_manifest(n->l, &d, text, strlen(text), &m, HUB, ALPINE, "latest",
                                        on_done, &t));
    manifest_fini(&m); /* the ledger has what it needs */
    await(&t, 1);
    assert_int_equal(t.well, 1);
    assert_true(is_stored(n, text));
    assert_int_equal(index_find_manifest(n->r, &d, &found, NULL), 1);
    assert_int_equal(index_find_tag(n->r, HUB, ALPINE, "latest", &tag, NULL), 1);
    assert_true(digest_equals(&tag.digest, &d));
    assert_int_equal(index_find_hold(n->r, HUB, ALPINE, &layer, &size, &is_proven, NULL), 1);
    assert_int_equal(size, 5);
    free(text);
}

static void manifest_of_no_repository_is_kept_without_a_hold(void **state)
{
    struct running *n = *state;
    struct told t = TOLD_INIT;
    struct manifest m = {.media_type = MEDIA_OCI_INDEX, .is_index = true};
    struct digest d = digest_of_text("{}");
    struct index_manifest found;
    assert_true(ledger_publish_manifest(n->l, &d, "{}", 2, &m, NULL, NULL, NULL, on_done, &t));
    await(&t, 1);
    assert_int_equal(t.well, 1);
    assert_int_equal(index_find_manifest(n->r, &d, &found, NULL), 1);
}

static void publish_that_fails_fails_alone(void **state)
{
    struct running *n = *state;
    struct told gate = TOLD_INIT, good = TOLD_INIT, bad = TOLD_INIT;
    struct digest blocked = digest_of_text("blocked");
    int64_t errors = metric_get(ledger_errors_total);
    block_name(n->folder, &blocked);
    int one = make_partial(n, "one"), none = make_partial(n, "blocked");
    shut_gate(n, &gate);
    post_blob(n, "one", one, &good);
    post_blob(n, "blocked", none, &bad);
    post_bytes(n, "two", NULL, &good);
    open_gate(&gate);
    await(&good, 2);
    await(&bad, 1);
    close(one);
    close(none);
    assert_int_equal(good.well, 2);
    assert_int_equal(bad.badly, 1);
    assert_int_equal(bad.last.kind, ERR_IO);
    assert_int_equal(find_blob(n, "one"), 1);
    assert_int_equal(find_blob(n, "two"), 1);
    assert_int_equal(find_blob(n, "blocked"), 0);
    assert_int_equal(metric_get(ledger_errors_total) - errors, 1);
}

/* A trigger that a stranger put in makes one statement fail in the midst of a transaction. */
static void statement_that_fails_undoes_the_rows_of_its_group_only(void **state)
{
    struct running *n = *state;
    struct told gate = TOLD_INIT, t = TOLD_INIT;
    sqlite3 *stranger = NULL;
    char path[400];
    folder_path_of(n->folder, "tranship.db", path);
    assert_int_equal(sqlite3_open(path, &stranger), SQLITE_OK);
    assert_int_equal(sqlite3_exec(stranger,
                                  "CREATE TRIGGER no BEFORE INSERT ON tag WHEN NEW.name = 'bad' "
                                  "BEGIN SELECT RAISE(ABORT, 'no'); END",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(stranger);
    shut_gate(n, &gate);
    post_bytes(n, "one", "good", &t);
    post_bytes(n, "two", "bad", &t);
    open_gate(&gate);
    await(&t, 2);
    assert_int_equal(t.badly, 2);
    assert_int_equal(find_blob(n, "one"), 0);
    post_bytes(n, "three", "good", &t);
    await(&t, 3);
    assert_int_equal(t.well, 1);
    assert_int_equal(find_blob(n, "three"), 1);
}

static sqlite3 *lock_index(struct running *n)
{
    sqlite3 *stranger = NULL;
    char path[400];
    folder_path_of(n->folder, "tranship.db", path);
    assert_int_equal(sqlite3_open(path, &stranger), SQLITE_OK);
    assert_int_equal(sqlite3_exec(stranger, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return stranger;
}

static void failed_transaction_is_told_to_all_and_files_are_adopted_by_the_next_start(void **state)
{
    struct running *n = *state;
    struct told gate = TOLD_INIT, t = TOLD_INIT;
    int64_t errors = metric_get(ledger_errors_total);
    shut_gate(n, &gate);
    sqlite3 *stranger = lock_index(n);
    post_bytes(n, "one", "latest", &t);
    post_bytes(n, "two", NULL, &t);
    open_gate(&gate);
    await(&t, 2);
    sqlite3_close(stranger); /* rolls back */
    assert_int_equal(t.badly, 2);
    assert_int_equal(t.last.kind, ERR_BUSY);
    assert_int_equal(metric_get(ledger_errors_total) - errors, 1);
    assert_int_equal(find_blob(n, "one"), 0);
    assert_true(is_stored(n, "one"));

    post_bytes(n, "three", NULL, &t); /* it goes on */
    await(&t, 3);
    assert_int_equal(t.well, 1);
    assert_int_equal(find_blob(n, "three"), 1);

    stop(n);
    start(n);
    assert_int_equal(find_blob(n, "one"), 1);
    assert_int_equal(find_blob(n, "two"), 1);
}

static void files_of_a_failed_transaction_are_adopted_once_it_goes_again(void **state)
{
    struct running *n = *state;
    struct told t = TOLD_INIT;
    clock_freeze(1000, 1000);
    sqlite3 *stranger = lock_index(n);
    post_bytes(n, "one", NULL, &t);
    await(&t, 1);
    assert_int_equal(t.badly, 1);
    clock_advance_ms(9000);
    ledger_settle(n->l);
    sqlite3_close(stranger); /* rolls back */
    assert_int_equal(find_blob(n, "one"), 0);
    clock_advance_ms(1000);
    for (int i = 0; i < 10 && find_blob(n, "one") == 0; i++)
        ledger_settle(n->l);
    assert_int_equal(find_blob(n, "one"), 1);
    assert_true(room_taken(store_room(n->folder->store)) >= room_of_file(3));
    clock_real();
}

/* --- the rest --------------------------------------------------------------------------------- */

static void small_letters_become_rows(void **state)
{
    struct running *n = *state;
    bool is_proven = false;
    struct digest d = digest_of_text("image");
    struct index_tag tag;
    int64_t size = 0, at = 0;
    char *body = NULL;
    size_t length = 0;
    clock_freeze(5000, 0);
    ledger_put_hold(n->l, HUB, ALPINE, &d, 12);
    ledger_put_tag(n->l, HUB, ALPINE, "v1", &d);
    ledger_put_tag(n->l, HUB, ALPINE, "v2", &d);
    ledger_remove_tag(n->l, HUB, ALPINE, "v2");
    ledger_put_listing(n->l, HUB, ALPINE, "tags", "", "{\"tags\":[]}", 11);
    clock_real();
    stop_ledger(n);
    assert_int_equal(index_find_hold(n->r, HUB, ALPINE, &d, &size, &is_proven, NULL), 1);
    assert_int_equal(size, 12);
    assert_int_equal(index_find_tag(n->r, HUB, ALPINE, "v1", &tag, NULL), 1);
    assert_int_equal(tag.checked_at, 5000);
    assert_int_equal(index_find_tag(n->r, HUB, ALPINE, "v2", &tag, NULL), 0);
    assert_int_equal(index_find_listing(n->r, HUB, ALPINE, "tags", "", &body, &length, &at, NULL),
                     1);
    assert_string_equal(body, "{\"tags\":[]}");
    assert_int_equal(at, 5000);
    free(body);
}

/* Of that blob's row. */
static int64_t number_of(struct running *n, const char *column, const char *text)
{
    autofree char *asked = alloc_format("SELECT %s FROM blob WHERE digest = ?", column);
    struct digest d = digest_of_text(text);
    sqlite3 *handle = NULL;
    sqlite3_stmt *statement = NULL;
    char path[400];
    assert_int_equal(sqlite3_open(folder_path_of(n->folder, "tranship.db", path), &handle), 0);
    sqlite3_prepare_v2(handle, asked, -1, &statement, NULL);
    sqlite3_bind_blob(statement, 1, &d, 33, SQLITE_STATIC);
    int64_t at = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    sqlite3_finalize(statement);
    sqlite3_close(handle);
    return at;
}

static void last_of_many_touches_counts(void **state)
{
    struct running *n = *state;
    struct told gate = TOLD_INIT;
    struct digest d = digest_of_text("popular"), other = digest_of_text("other");
    clock_freeze(1000, 0);
    post_bytes(n, "popular", NULL, NULL);
    post_bytes(n, "other", NULL, NULL);
    shut_gate(n, &gate);
    for (int64_t i = 1; i <= 200; i++) {
        clock_freeze(1000 + i, 0);
        ledger_touch(n->l, &d);
        if (i == 100)
            ledger_touch(n->l, &other);
    }
    clock_real();
    open_gate(&gate);
    stop_ledger(n);
    assert_int_equal(number_of(n, "used_at", "popular"), 1200);
    assert_int_equal(number_of(n, "used_at", "other"), 1100);
}

static void hits_add_up_and_stay_when_the_blob_comes_again(void **state)
{
    struct running *n = *state;
    struct digest d = digest_of_text("popular");
    post_bytes(n, "popular", NULL, NULL);
    ledger_add_hits(n->l, &d, 3);
    ledger_settle(n->l);
    post_bytes(n, "popular", NULL, NULL);
    ledger_add_hits(n->l, &d, 4);
    stop_ledger(n);
    assert_int_equal(number_of(n, "hits", "popular"), 7);
}

static void a_pin_is_there_once_its_sender_is_told(void **state)
{
    struct running *n = *state;
    struct told gate = TOLD_INIT, pinned = TOLD_INIT;
    shut_gate(n, &gate);
    assert_true(ledger_pin(n->l, HUB, ALPINE, "3.19", on_done, &pinned));
    assert_true(ledger_pin(n->l, HUB, ALPINE, "3.19", on_done, &pinned));
    open_gate(&gate);
    stop_ledger(n);
    assert_int_equal(pinned.well, 2);
    assert_int_equal(index_remove_pin(n->x, HUB, ALPINE, "3.19", NULL), 1);
}

static void count_gone(const struct evicted *gone, void *cls)
{
    struct told *t = cls;
    pthread_mutex_lock(&t->mutex);
    t->gone += gone->size_bytes > 0;
    pthread_mutex_unlock(&t->mutex);
}

static void eviction_on_request_tells_what_went_and_then_that_it_is_done(void **state)
{
    struct running *n = *state;
    struct told stored = TOLD_INIT, rehearsed = TOLD_INIT, told = TOLD_INIT;
    post_bytes(n, "one", NULL, &stored);
    post_bytes(n, "two", NULL, &stored);
    await(&stored, 2);
    struct evict_order dry = {.is_dry = true, .visit = count_gone, .cls = &rehearsed};
    struct evict_order all = {.visit = count_gone, .cls = &told};
    assert_true(ledger_evict(n->l, &dry, on_done, &rehearsed));
    await(&rehearsed, 1);
    assert_int_equal(rehearsed.gone, 2);
    assert_true(is_stored(n, "one") && is_stored(n, "two"));
    assert_true(ledger_evict(n->l, &all, on_done, &told));
    await(&told, 1);
    assert_int_equal(told.gone, 2);
    assert_false(is_stored(n, "one") || is_stored(n, "two"));
}

static void who_waits_for_room_is_served_at_once(void **state)
{
    struct running *n = *state;
    struct told stored = TOLD_INIT;
    struct room *room = store_room(n->folder->store);
    struct digest d = digest_of_text("wanted");
    autofree char *large = alloc_zero(1000000);
    memset(large, 'x', 999999);
    post_bytes(n, large, NULL, &stored);
    await(&stored, 1);
    const struct room_limits limits = {.budget_bytes = room_taken(room) + 100000};
    room_set_limits(room, &limits);
    assert_false(room_reserve(room, &d, 500000));
    room_want(room, 500000);
    ledger_make_room(n->l);
    while (!room_is_stuck(room) && !room_reserve(room, &d, 500000))
        sched_yield();
    assert_false(is_stored(n, large));
    assert_false(room_is_stuck(room));
}

static void removed_blob_loses_file_and_row(void **state)
{
    struct running *n = *state;
    struct digest d = digest_of_text("rotten");
    post_bytes(n, "rotten", NULL, NULL);
    ledger_remove_blob(n->l, &d);
    ledger_remove_blob(n->l, &d);
    stop_ledger(n);
    assert_false(is_stored(n, "rotten"));
    assert_int_equal(find_blob(n, "rotten"), 0);
}

static void removed_and_published_again_in_one_group_is_held(void **state)
{
    struct running *n = *state;
    struct told gate = TOLD_INIT;
    struct digest d = digest_of_text("healed");
    shut_gate(n, &gate);
    post_bytes(n, "healed", NULL, NULL);
    ledger_remove_blob(n->l, &d);
    post_bytes(n, "healed", NULL, NULL);
    open_gate(&gate);
    stop_ledger(n);
    assert_true(is_stored(n, "healed"));
    assert_int_equal(find_blob(n, "healed"), 1);
}

static void removed_partial_is_gone(void **state)
{
    struct running *n = *state;
    struct digest d = digest_of_text("liar");
    close(make_partial(n, "liar"));
    assert_int_equal(store_partial_write_map(n->folder->store, &d, "0 4\n", 4, NULL), 0);
    ledger_remove_partial(n->l, &d);
    stop_ledger(n);
    assert_int_equal(count_names(n->folder, "ingest"), 0);
}

static void stop_does_all_that_waits(void **state)
{
    struct running *n = *state;
    struct told gate = TOLD_INIT, t = TOLD_INIT;
    shut_gate(n, &gate);
    for (int i = 0; i < 600; i++) { /* more than one group */
        char text[32];
        snprintf(text, sizeof(text), "waiting %d", i);
        post_bytes(n, text, text + 8, &t);
    }
    assert_int_equal(metric_get(ledger_queue), 600);
    open_gate(&gate);
    stop_ledger(n);
    assert_int_equal(t.well, 600);
    assert_int_equal(metric_get(ledger_queue), 0);
    assert_int_equal(find_blob(n, "waiting 599"), 1);
}

static void full_queue_drops_what_can_be_dropped_and_takes_every_publish(void **state)
{
    struct running *n = *state;
    struct told gate = TOLD_INIT, t = TOLD_INIT;
    struct digest d = digest_of_text("popular");
    shut_gate(n, &gate);
    int64_t errors = metric_get(ledger_errors_total);
    for (int i = 0; i < 65536 + 10; i++)
        ledger_touch(n->l, &d);
    assert_int_equal(metric_get(ledger_queue), 65536);
    assert_int_equal(metric_get(ledger_errors_total) - errors, 10);
    post_bytes(n, "important", NULL, &t);
    open_gate(&gate);
    await(&t, 1);
    assert_int_equal(t.well, 1);
    assert_true(is_stored(n, "important"));
}

/* --- many senders ----------------------------------------------------------------------------- */

#define SENDERS 4
#define EACH 60

struct sender {
    struct running *n;
    struct told *told;
    int number;
};

static void *send_many(void *cls)
{
    struct sender *s = cls;
    for (int i = 0; i < EACH; i++) {
        char text[32];
        /* Half of them are sent by all senders: the same digest again and again. */
        snprintf(text, sizeof(text), "many %d", i % 2 ? i : s->number * EACH + i);
        struct digest d = digest_of_text(text);
        post_bytes(s->n, text, "latest", s->told);
        ledger_touch(s->n->l, &d);
        ledger_put_hold(s->n->l, HUB, "library/other", &d, -1);
    }
    return NULL;
}

static void many_senders_are_all_told(void **state)
{
    struct running *n = *state;
    struct told t = TOLD_INIT;
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.n = n, .told = &t, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_many, &senders[i]), 0);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    await(&t, SENDERS * EACH);
    assert_int_equal(t.well, SENDERS * EACH);
    for (int i = 0; i < SENDERS * EACH; i += 2) {
        char text[32];
        snprintf(text, sizeof(text), "many %d", i);
        assert_int_equal(find_blob(n, text), 1);
    }
}

struct work {
    struct told told; /* first: on_done gets this */
    struct running *n;
    int result;
    int found; /* of the blob posted before */
};

static int do_work(struct store *s, struct index *x, void *cls, struct error *e)
{
    struct work *w = cls;
    struct digest d = digest_of_text("before");
    uint64_t size_bytes;
    (void)s;
    w->found = index_find_blob(w->n->r, &d, &size_bytes, e);
    if (w->result < 0)
        return error_set(e, ERR_IO, "as it was told to");
    return index_begin(x, e) < 0 ? -1 : index_commit(x, e);
}

static void
work_runs_once_what_was_posted_before_is_durable_and_its_failure_is_its_own(void **state)
{
    struct running *n = *state;
    struct told gate = TOLD_INIT, told = TOLD_INIT;
    struct work good = {.told = TOLD_INIT, .n = n}, bad = {.told = TOLD_INIT, .n = n, .result = -1};
    shut_gate(n, &gate);
    post_bytes(n, "before", NULL, &told);
    assert_true(ledger_run(n->l, do_work, on_done, &bad));
    assert_true(ledger_run(n->l, do_work, on_done, &good));
    post_bytes(n, "after", NULL, &told);
    open_gate(&gate);
    await(&told, 2);
    await(&good.told, 1);
    await(&bad.told, 1);
    assert_int_equal(told.well, 2);
    assert_int_equal(good.told.well, 1);
    assert_int_equal(good.found, 1);
    assert_int_equal(bad.told.badly, 1);
    assert_string_equal(bad.told.last.text, "as it was told to");
}

struct slices {
    struct told told;
    struct running *n;
    int left;
    struct told between; /* of what was posted by the first of them */
};

static int do_a_slice(struct store *s, struct index *x, void *cls, struct error *e)
{
    struct slices *w = cls;
    (void)s, (void)x, (void)e;
    if (w->left == 3)
        post_bytes(w->n, "between", NULL, &w->between);
    if (w->left == 1)
        assert_int_equal(w->between.well, 1);
    return --w->left > 0;
}

static void work_in_slices_lets_through_what_was_posted_meanwhile(void **state)
{
    struct running *n = *state;
    struct slices w = {.told = TOLD_INIT, .n = n, .left = 3, .between = TOLD_INIT};
    assert_true(ledger_run(n->l, do_a_slice, on_done, &w));
    await(&w.told, 1);
    assert_int_equal(w.left, 0);
    assert_int_equal(w.told.well, 1);
}

static int do_some(struct store *s, struct index *x, void *cls, struct error *e)
{
    struct slices *w = cls;
    (void)s, (void)x, (void)e;
    return --w->left > 0;
}

static void work_in_slices_is_done_before_the_ledger_ends(void **state)
{
    struct running *n = *state;
    struct slices w = {.told = TOLD_INIT, .n = n, .left = 100};
    assert_true(ledger_run(n->l, do_some, on_done, &w));
    ledger_stop(n->l);
    n->l = NULL;
    assert_int_equal(w.left, 0);
    assert_int_equal(w.told.well, 1);
}

static void settling_waits_for_all_that_was_posted(void **state)
{
    struct running *n = *state;
    struct told told = TOLD_INIT;
    for (int i = 0; i < 300; i++) {
        char text[32];
        snprintf(text, sizeof(text), "settle %d", i);
        post_bytes(n, text, NULL, &told);
    }
    ledger_settle(n->l);
    assert_int_equal(told.well, 300);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(published_blob_is_held_and_has_its_rows_when_told),
        T(published_manifest_brings_its_tag_and_what_it_names),
        T(manifest_of_no_repository_is_kept_without_a_hold),
        T(publish_that_fails_fails_alone),
        T(statement_that_fails_undoes_the_rows_of_its_group_only),
        T(failed_transaction_is_told_to_all_and_files_are_adopted_by_the_next_start),
        T(files_of_a_failed_transaction_are_adopted_once_it_goes_again),
        T(small_letters_become_rows),
        T(last_of_many_touches_counts),
        T(hits_add_up_and_stay_when_the_blob_comes_again),
        T(a_pin_is_there_once_its_sender_is_told),
        T(eviction_on_request_tells_what_went_and_then_that_it_is_done),
        T(who_waits_for_room_is_served_at_once),
        T(removed_blob_loses_file_and_row),
        T(removed_and_published_again_in_one_group_is_held),
        T(removed_partial_is_gone),
        T(stop_does_all_that_waits),
        T(full_queue_drops_what_can_be_dropped_and_takes_every_publish),
        T(many_senders_are_all_told),
        T(work_runs_once_what_was_posted_before_is_durable_and_its_failure_is_its_own),
        T(work_in_slices_lets_through_what_was_posted_meanwhile),
        T(work_in_slices_is_done_before_the_ledger_ends),
        T(settling_waits_for_all_that_was_posted),
    };
    log_configure(LOG_LEVEL_OFF, LOG_FORMAT_TEXT);
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
