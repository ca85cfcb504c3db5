/* SPDX-License-Identifier: Apache-2.0
 * Hashing again: what is told of one blob, what the pass finds and where it goes on, what is set
 * aside and what is left alone because it is no longer what was looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "cache/index.h"
#include "cache/ledger.h"
#include "cache/quarantine.h"
#include "cache/scrub.h"
#include "data_folder.h"

#define INTERVAL_MS (30 * INT64_C(86400000))

struct held {
    struct data_folder *folder;
    struct index *x;
    struct index_reader *r;
    struct ledger *l;
};

static void open_held(struct held *h)
{
    struct error e = {0};
    bool rebuilt = false;
    h->x = index_open(h->folder->store, &rebuilt, &e);
    h->r = h->x ? index_reader_open(h->x, &e) : NULL;
    h->l = h->r ? ledger_start(h->folder->store, h->x, &e) : NULL;
    if (!h->l)
        fail_msg("%s", e.text);
}

static void close_held(struct held *h)
{
    ledger_stop(h->l);
    index_reader_close(h->r);
    index_close(h->x);
}

static int setup(void **state)
{
    struct held *h = calloc(1, sizeof *h);
    assert_non_null(h);
    folder_setup((void **)&h->folder);
    open_held(h);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct held *h = *state;
    close_held(h);
    folder_teardown((void **)&h->folder);
    free(h);
    return 0;
}

/* Files first, then the index finds them. */
static void hold_many(struct held *h, unsigned count)
{
    close_held(h);
    for (unsigned i = 0; i < count; i++) {
        char text[32];
        snprintf(text, sizeof text, "blob %u", i);
        hold_text(h->folder, text);
    }
    open_held(h);
}

static void spoil(struct held *h, const char *text, const char *with)
{
    char path[400];
    struct digest d = digest_of_text(text);
    write_file(blob_path(h->folder, &d, path), with);
}

static const char *quarantine_path(struct held *h, const struct digest *d, char out[400])
{
    char hex[DIGEST_HEX_MAX], name[192];
    snprintf(name, sizeof name, QUARANTINE_FOLDER "/%s-%s", digest_algorithm_name(d),
             digest_hex(d, hex));
    return folder_path_of(h->folder, name, out);
}

static bool is_known(struct held *h, const struct digest *d)
{
    uint64_t size;
    return index_find_blob(h->r, d, &size, NULL) == 1;
}

/* --- one blob --------------------------------------------------------------------------------- */

static enum scrub_verdict look(struct held *h, const char *text, struct scrub_found *found)
{
    struct digest d = digest_of_text(text);
    enum scrub_verdict v = scrub_look(h->folder->store, &d, NULL, NULL, found);
    if (found->fd >= 0)
        close(found->fd);
    return v;
}

static void a_look_tells_right_from_wrong_absent_and_no_file(void **state)
{
    struct held *h = *state;
    struct scrub_found found;
    char path[400];
    struct digest d = digest_of_text("a folder");
    hold_text(h->folder, "as it was");
    hold_text(h->folder, "flipped");
    hold_text(h->folder, "cut short");
    hold_text(h->folder, "emptied");
    spoil(h, "flipped", "flippeD");
    spoil(h, "cut short", "cut");
    spoil(h, "emptied", "");
    mkdir(blob_path(h->folder, &d, path), 0700);
    assert_int_equal(look(h, "as it was", &found), SCRUB_RIGHT);
    assert_int_equal(found.size_bytes, 9);
    assert_int_equal(look(h, "flipped", &found), SCRUB_WRONG);
    assert_non_null(strstr(found.why.text, "its bytes are those of sha256:"));
    assert_int_equal(look(h, "cut short", &found), SCRUB_WRONG);
    assert_int_equal(look(h, "emptied", &found), SCRUB_WRONG);
    assert_int_equal(look(h, "a folder", &found), SCRUB_WRONG);
    assert_int_equal(look(h, "never there", &found), SCRUB_ABSENT);
}

static bool stop_at_once(void *cls, size_t bytes)
{
    *(size_t *)cls += bytes;
    return false;
}

static void a_look_ends_when_its_pace_says_so(void **state)
{
    struct held *h = *state;
    struct digest d = digest_of_text("anything");
    struct scrub_found found;
    size_t told = 0;
    hold_text(h->folder, "anything");
    assert_int_equal(scrub_look(h->folder->store, &d, stop_at_once, &told, &found), SCRUB_STOPPED);
    assert_true(told > 0);
    close(found.fd);
}

/* --- setting aside ---------------------------------------------------------------------------- */

static void what_was_replaced_meanwhile_is_not_set_aside(void **state)
{
    struct held *h = *state;
    char path[400];
    struct digest d = digest_of_text("good");
    struct error e = {0};
    uint64_t size;
    int fd = -1;
    hold_text(h->folder, "good");
    assert_int_equal(store_get(h->folder->store, &d, &fd, &size, &e), 1);
    blob_path(h->folder, &d, path);
    assert_int_equal(unlink(path), 0);
    write_file(path, "good"); /* another file under that name */
    assert_int_equal(quarantine_take(h->folder->store, &d, fd, &e), 0);
    assert_int_equal(quarantine_take(h->folder->store, &d, -1, &e), 0); /* it is a regular one */
    assert_true(path_exists(path));
    close(fd);
}

static void what_is_no_file_is_set_aside_and_the_next_of_its_name_takes_its_place(void **state)
{
    struct held *h = *state;
    char path[400], aside[400], text[400];
    struct error e = {0};
    struct digest d = digest_of_text("d");
    mkdir(blob_path(h->folder, &d, path), 0700);
    assert_int_equal(quarantine_take(h->folder->store, &d, -1, &e), 1);
    assert_false(path_exists(path));
    assert_true(path_exists(quarantine_path(h, &d, aside)));
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(quarantine_take(h->folder->store, &d, -1, &e), 1);
    hold_text(h->folder, "d");
    write_file(path, "wrong");
    int fd = open(path, O_RDONLY);
    assert_int_equal(quarantine_take(h->folder->store, &d, fd, &e), 1);
    close(fd);
    assert_string_equal(read_text(aside, text), "wrong");
}

static void what_was_set_aside_counts_until_it_goes(void **state)
{
    struct held *h = *state;
    char path[400];
    struct error e = {0};
    struct digest d = digest_of_text("counted");
    int64_t before = metric_get(blob_bytes);
    hold_text(h->folder, "counted");
    int fd = open(blob_path(h->folder, &d, path), O_RDONLY);
    assert_int_equal(quarantine_take(h->folder->store, &d, fd, &e), 1);
    close(fd);
    assert_int_equal(metric_get(blob_bytes), before + 4096);
    quarantine_sweep(h->folder->store, 60); /* as the next start counts it */
    assert_int_equal(metric_get(blob_bytes), before + 2 * 4096);
    assert_int_equal(quarantine_drop(h->folder->store), 4096);
    assert_int_equal(quarantine_drop(h->folder->store), 0);
    assert_int_equal(metric_get(blob_bytes), before + 4096);
    assert_int_equal(count_names(h->folder, QUARANTINE_FOLDER), 0);
}

static void what_was_set_aside_long_ago_goes_at_the_start(void **state)
{
    struct held *h = *state;
    char path[400];
    struct error e = {0};
    struct digest d = digest_of_text("old");
    hold_text(h->folder, "old");
    int fd = open(blob_path(h->folder, &d, path), O_RDONLY);
    assert_int_equal(quarantine_take(h->folder->store, &d, fd, &e), 1);
    close(fd);
    struct timespec then[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, quarantine_path(h, &d, path), then, 0), 0);
    quarantine_sweep(h->folder->store, 3600);
    assert_false(path_exists(path));
}

/* --- the thread ------------------------------------------------------------------------------- */

static struct scrub *start_scrub(struct held *h, int64_t interval_ms)
{
    struct error e = {0};
    struct scrub *c = scrub_start(h->folder->store, h->x, h->l, interval_ms, &e);
    if (!c)
        fail_msg("%s", e.text);
    return c;
}

static void end_scrub(struct scrub *c)
{
    scrub_stop(c);
    scrub_free(c);
}

static void the_pass_finds_what_is_wrong_and_nothing_else(void **state)
{
    struct held *h = *state;
    char path[400];
    int64_t scrubbed = metric_get(scrubbed_blobs_total), aside = metric_get(set_aside_blobs_total);
    hold_many(h, 20);
    spoil(h, "blob 3", "blob 4");
    spoil(h, "blob 17", "");
    struct scrub *c = start_scrub(h, INTERVAL_MS);
    while (metric_get(scrubbed_blobs_total) < scrubbed + 20)
        sched_yield();
    end_scrub(c);
    assert_int_equal(metric_get(set_aside_blobs_total), aside + 2);
    for (unsigned i = 0; i < 20; i++) {
        char text[32];
        snprintf(text, sizeof text, "blob %u", i);
        struct digest d = digest_of_text(text);
        bool is_wrong = i == 3 || i == 17;
        assert_int_equal(is_known(h, &d), !is_wrong);
        assert_int_equal(path_exists(blob_path(h->folder, &d, path)), !is_wrong);
        assert_int_equal(path_exists(quarantine_path(h, &d, path)), is_wrong);
    }
}

static void the_pass_goes_on_where_it_was_stopped(void **state)
{
    struct held *h = *state;
    struct index_scrub pass = {.began_at = 0};
    int64_t before = metric_get(scrubbed_blobs_total);
    hold_many(h, 400); /* at 1 MiB/s this takes more than a second */
    struct scrub *c = start_scrub(h, INTERVAL_MS);
    while (metric_get(scrubbed_blobs_total) < before + 50)
        sched_yield();
    end_scrub(c);
    int64_t first = metric_get(scrubbed_blobs_total) - before;
    assert_true(first < 400);
    assert_int_equal(index_get_scrub(h->r, &pass, NULL), 1);
    assert_int_not_equal(pass.place.algorithm, 0);
    c = start_scrub(h, INTERVAL_MS);
    do {
        sched_yield();
        index_get_scrub(h->r, &pass, NULL);
    } while (pass.place.algorithm);
    end_scrub(c);
    assert_int_equal(metric_get(scrubbed_blobs_total) - before, 400);
    assert_true(pass.began_at > 0);
}

static void a_pass_that_ended_is_not_begun_again_before_its_time(void **state)
{
    struct held *h = *state;
    struct digest d = digest_of_text("blob 0");
    struct index_scrub ended = {.began_at = clock_wall_s() - 1000}, now;
    struct error e;
    hold_many(h, 1);
    close_held(h);
    bool rebuilt;
    h->x = index_open(h->folder->store, &rebuilt, &e);
    assert_int_equal(index_put_scrub(h->x, &ended, &e), 0);
    index_close(h->x);
    open_held(h);
    int64_t before = metric_get(scrubbed_blobs_total);
    struct scrub *c = start_scrub(h, INTERVAL_MS);
    assert_true(scrub_suspect(c, &d, NULL, NULL)); /* done only after the thread looked around */
    end_scrub(c);
    assert_int_equal(metric_get(scrubbed_blobs_total), before);
    c = start_scrub(h, 1000 * 1000);
    do {
        sched_yield();
        index_get_scrub(h->r, &now, NULL);
    } while (now.began_at == ended.began_at);
    end_scrub(c);
    assert_int_equal(metric_get(scrubbed_blobs_total), before + 1);
}

struct told {
    pthread_mutex_t mutex;
    pthread_cond_t is_changed;
    enum scrub_verdict verdict;
    struct error failed;
    unsigned count;
};

static void on_done(void *cls, enum scrub_verdict verdict, const struct error *failed)
{
    struct told *t = cls;
    pthread_mutex_lock(&t->mutex);
    t->verdict = verdict;
    if (failed)
        t->failed = *failed;
    t->count++;
    pthread_cond_broadcast(&t->is_changed);
    pthread_mutex_unlock(&t->mutex);
}

static enum scrub_verdict ask(struct scrub *c, struct told *t, const char *text)
{
    struct digest d = digest_of_text(text);
    unsigned before = t->count;
    assert_true(scrub_suspect(c, &d, on_done, t));
    pthread_mutex_lock(&t->mutex);
    while (t->count == before)
        pthread_cond_wait(&t->is_changed, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
    return t->verdict;
}

static void a_suspect_is_looked_at_at_once_and_the_index_knows_when_it_is_told(void **state)
{
    struct held *h = *state;
    struct told t = {.mutex = PTHREAD_MUTEX_INITIALIZER, .is_changed = PTHREAD_COND_INITIALIZER};
    struct digest d = digest_of_text("blob 1");
    hold_many(h, 3);
    spoil(h, "blob 1", "blob 2");
    struct scrub *c = start_scrub(h, 0); /* no pass of its own */
    assert_int_equal(ask(c, &t, "blob 0"), SCRUB_RIGHT);
    assert_int_equal(ask(c, &t, "blob 1"), SCRUB_WRONG);
    assert_false(is_known(h, &d));
    assert_int_equal(ask(c, &t, "blob 1"), SCRUB_ABSENT);
    assert_int_equal(t.failed.kind, ERR_NONE);
    end_scrub(c);
}

static void who_asks_while_it_stops_is_told_or_refused(void **state)
{
    struct held *h = *state;
    struct told t = {.mutex = PTHREAD_MUTEX_INITIALIZER, .is_changed = PTHREAD_COND_INITIALIZER};
    struct digest d = digest_of_text("blob 1");
    hold_many(h, 3);
    struct scrub *c = start_scrub(h, INTERVAL_MS);
    unsigned taken = 0;
    for (int i = 0; i < 3000; i++) /* more than may wait */
        taken += scrub_suspect(c, &d, on_done, &t);
    assert_in_range(taken, 1024, 3000);
    scrub_stop(c);
    assert_int_equal(t.count, taken);
    assert_false(scrub_suspect(c, &d, on_done, &t));
    scrub_free(c);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_look_tells_right_from_wrong_absent_and_no_file),
        T(a_look_ends_when_its_pace_says_so),
        T(what_was_replaced_meanwhile_is_not_set_aside),
        T(what_is_no_file_is_set_aside_and_the_next_of_its_name_takes_its_place),
        T(what_was_set_aside_counts_until_it_goes),
        T(what_was_set_aside_long_ago_goes_at_the_start),
        T(the_pass_finds_what_is_wrong_and_nothing_else),
        T(the_pass_goes_on_where_it_was_stopped),
        T(a_pass_that_ended_is_not_begun_again_before_its_time),
        T(a_suspect_is_looked_at_at_once_and_the_index_knows_when_it_is_told),
        T(who_asks_while_it_stops_is_told_or_refused),
    };
    log_configure(LOG_LEVEL_OFF, LOG_FORMAT_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
