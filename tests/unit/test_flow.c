/* SPDX-License-Identifier: Apache-2.0
 * One blob on its way in: what readers may see, when they are woken, what survives. */
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "cache/flow.h"
#include "cache/hashing.h"
#include "cache/room.h"
#include "cache/segments.h"
#include "cache/store.h"

enum { SIZE = 3 << 20 };

struct fixture {
    char path[64];
    struct store *store;
    char *blob;
    struct digest digest;
};

static int set_up(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    struct error e;
    snprintf(x->path, sizeof x->path, "/tmp/tranship-flow-XXXXXX");
    if (!x || !mkdtemp(x->path))
        return -1;
    x->store = store_open(x->path, &e);
    x->blob = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        x->blob[i] = (char)(i * 2654435761u >> 13);
    digest_of(DIGEST_SHA256, x->blob, SIZE, &x->digest);
    *state = x;
    return x->store ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    store_close(x->store);
    nftw(x->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(x->blob);
    free(x);
    return 0;
}

static struct flow *begin(struct fixture *x, int64_t promised)
{
    struct flow *f = flow_new(x->store, &x->digest, promised);
    flow_open(f);
    return f;
}

static void the_newest_byte_is_held_back_until_the_digest_matches(void **state)
{
    struct fixture *x = *state;
    struct error e;
    char byte;
    struct flow *f = begin(x, -1);
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_int_equal(flow_write(f, 0, x->blob, SIZE, &e), 0);
    assert_int_equal(flow_read(f, SIZE - 2, &byte, 1, &e), 1);
    assert_int_equal(flow_read(f, SIZE - 1, &byte, 1, &e), 0);
    assert_int_equal(flow_finish(f, &e), 0);
    assert_int_equal(flow_read(f, SIZE - 1, &byte, 1, &e), 1);
    assert_int_equal(byte, x->blob[SIZE - 1]);
    flow_unref(f);
}

static void wake_nobody(struct waiter *w)
{
    (void)w;
}

static void doubted_bytes_are_read_once_they_are_trusted_or_all_is_verified(void **state)
{
    struct fixture *x = *state;
    auto_unref(flow) struct flow *f = begin(x, SIZE);
    struct error e;
    char *into = malloc(SIZE);
    uint64_t wanted;
    struct waiter w = {.wake = wake_nobody};
    flow_set_size(f, SIZE, &e);
    flow_doubt(f, 1000, 2000);
    flow_doubt(f, 5000, SIZE);
    assert_int_equal(flow_write(f, 0, x->blob, SIZE, &e), 0);
    assert_int_equal(flow_read(f, 0, into, SIZE, &e), 1000);
    assert_int_equal(flow_read(f, 1000, into, SIZE, &e), 0);
    assert_true(flow_await(f, SIZE - 10, &w));
    assert_false(flow_wanted(f, 0, &wanted)); /* it is here: nobody need bring it */
    flow_trust(f, 1000, 2000);
    assert_int_equal(flow_read(f, 1000, into, SIZE, &e), 4000);
    assert_int_equal(flow_read(f, SIZE - 2, into, SIZE, &e), 0);
    while (flow_hash_rest(f, SIZE))
        ;
    assert_int_equal(flow_finish(f, &e), 0);
    assert_int_equal(flow_read(f, 5000, into, SIZE, &e), SIZE - 5000);
    free(into);
}

static void bytes_that_were_given_to_nobody_can_be_dropped_and_others_take_their_place(void **state)
{
    struct fixture *x = *state;
    auto_unref(flow) struct flow *f = begin(x, SIZE);
    struct error e;
    char byte;
    uint64_t at, length;
    struct segment parts[] = {{1000, 2000}, {1 << 20, SIZE}};
    const struct segments wrong = {.parts = parts, .count = 2};
    char *spoilt = malloc(SIZE);
    memcpy(spoilt, x->blob, SIZE);
    spoilt[1500] ^= 1;
    spoilt[SIZE - 1] ^= 1;
    flow_set_size(f, SIZE, &e);
    assert_int_equal(flow_write(f, 0, spoilt, SIZE, &e), 0);
    assert_int_equal(flow_read(f, 999, &byte, 1, &e), 1);
    while (flow_hash_rest(f, SIZE))
        ;
    assert_int_equal(flow_finish(f, &e), -1);
    assert_true(flow_drop(f, &wrong));
    assert_true(flow_hole(f, 0, &at, &length));
    assert_int_equal(at, 1000);
    assert_int_equal(length, 1000);
    assert_int_equal(flow_write(f, 0, x->blob, SIZE, &e), 0);
    while (flow_hash_rest(f, SIZE))
        ;
    assert_int_equal(flow_read(f, 1999, &byte, 1, &e), 1);
    assert_false(flow_drop(f, &wrong));
    assert_int_equal(flow_finish(f, &e), 0);
    free(spoilt);
}

static void wrong_bytes_never_verify_and_a_failed_flow_reads_as_failed(void **state)
{
    struct fixture *x = *state;
    struct error e = {0};
    char byte;
    struct flow *f = begin(x, SIZE);
    x->blob[17] ^= 1;
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_int_equal(flow_write(f, 0, x->blob, SIZE, &e), 0);
    assert_int_equal(flow_finish(f, &e), -1);
    assert_int_equal(e.kind, ERR_CORRUPT);
    flow_fail(f, &e);
    assert_int_equal(flow_state(f), FLOW_FAILED);
    assert_int_equal(flow_read(f, 0, &byte, 1, &e), -1);
    flow_unref(f);
    char *map;
    size_t length;
    assert_int_equal(store_partial_read_map(x->store, &x->digest, &map, &length, &e), 0);
}

static void pieces_in_any_order_make_the_whole(void **state)
{
    struct fixture *x = *state;
    struct error e;
    struct flow *f = begin(x, -1);
    uint64_t at, length;
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_int_equal(flow_write(f, 2 << 20, x->blob + (2 << 20), 1 << 20, &e), 0);
    assert_true(flow_hole(f, 0, &at, &length));
    assert_int_equal(at, 0);
    assert_int_equal(length, 2 << 20);
    assert_int_equal(flow_write(f, 0, x->blob, 1 << 20, &e), 0);
    assert_int_equal(flow_write(f, 1 << 19, x->blob + (1 << 19), 3 << 19, &e), 0);
    assert_false(flow_hole(f, 0, &at, &length));
    while (flow_hash_rest(f, 64 << 10))
        ;
    assert_int_equal(flow_finish(f, &e), 0);
    flow_unref(f);
}

static void more_than_the_promised_size_is_refused(void **state)
{
    struct fixture *x = *state;
    struct error e = {0};
    struct flow *f = begin(x, -1);
    assert_int_equal(flow_set_size(f, 100, &e), 0);
    assert_int_equal(flow_write(f, 90, x->blob, 11, &e), -1);
    assert_int_equal(e.kind, ERR_CORRUPT);
    assert_int_equal(flow_set_size(f, 101, &e), -1);
    flow_unref(f);
}

static void a_later_flow_goes_on_where_an_earlier_one_stopped(void **state)
{
    struct fixture *x = *state;
    struct error e;
    uint64_t at, length;
    struct flow *f = begin(x, -1);
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_int_equal(flow_write(f, 0, x->blob, 1 << 20, &e), 0);
    flow_save(f);
    flow_unref(f);
    f = begin(x, SIZE);
    assert_true(flow_hole(f, 0, &at, &length));
    assert_int_equal(at, 1 << 20);
    assert_int_equal(flow_state(f), FLOW_WAITING);
    while (flow_hash_rest(f, SIZE))
        ;
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_int_equal(flow_write(f, at, x->blob + at, SIZE - (size_t)at, &e), 0);
    assert_int_equal(flow_finish(f, &e), 0);
    flow_unref(f);
}

static void what_is_a_hole_is_not_taken_up_whatever_the_map_says(void **state)
{
    struct fixture *x = *state;
    struct error stopped, e;
    char path[200], hex[DIGEST_HEX_MAX];
    struct flow *f = begin(x, SIZE);
    assert_int_equal(flow_write(f, 0, x->blob, SIZE, &e), 0);
    error_set(&stopped, ERR_STOPPING, "stopping");
    flow_fail(f, &stopped);
    flow_unref(f);
    snprintf(path, sizeof path, "%s/ingest/sha256-%s", x->path, digest_hex(&x->digest, hex));
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 1 << 20),
                     0);
    close(fd);
    uint64_t hole = 0, length = 0;
    f = begin(x, SIZE);
    assert_true(flow_hole(f, 0, &hole, &length));
    assert_int_equal(hole, 1 << 20);
    assert_int_equal(length, 1 << 20);
    assert_false(flow_hole(f, 2 << 20, &hole, &length));
    flow_unref(f);
}

static void a_restart_forgets_what_was_taken_up_unless_somebody_read_it(void **state)
{
    struct fixture *x = *state;
    struct error e;
    char byte;
    uint64_t at, length;
    struct flow *f = begin(x, SIZE);
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_int_equal(flow_write(f, 0, x->blob, 1000, &e), 0);
    assert_true(flow_restart(f));
    assert_true(flow_hole(f, 0, &at, &length));
    assert_int_equal(at, 0);
    assert_int_equal(flow_write(f, 0, x->blob, 1000, &e), 0);
    assert_int_equal(flow_read(f, 0, &byte, 1, &e), 1);
    assert_false(flow_restart(f));
    flow_unref(f);
}

static void the_rate_counts_what_came_and_not_what_was_taken_up(void **state)
{
    struct fixture *x = *state;
    struct error e;
    struct flow *f = begin(x, SIZE);
    assert_int_equal(flow_write(f, 0, x->blob, 1 << 20, &e), 0);
    flow_save(f);
    flow_unref(f);
    clock_freeze(1000, 1000);
    f = begin(x, SIZE);
    clock_advance_ms(2000);
    assert_int_equal(flow_present(f), 1 << 20);
    assert_int_equal(flow_rate(f), 0);
    assert_int_equal(flow_write(f, 1 << 20, x->blob + (1 << 20), 1000, &e), 0);
    assert_int_equal(flow_rate(f), 500);
    clock_real();
    flow_unref(f);
}

static void a_stated_size_goes_with_a_restart_unless_it_was_promised_or_told(void **state)
{
    struct fixture *x = *state;
    struct error e;
    uint64_t size;
    struct flow *f = begin(x, -1);
    assert_int_equal(flow_set_size(f, 100, &e), 0);
    assert_true(flow_restart(f));
    assert_int_equal(flow_state(f), FLOW_WAITING);
    assert_false(flow_tell_size(f, &size));
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_true(flow_tell_size(f, &size));
    assert_int_equal(size, SIZE);
    assert_true(flow_restart(f));
    assert_int_equal(flow_set_size(f, 100, &e), -1);
    flow_unref(f);
    f = begin(x, SIZE);
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_true(flow_restart(f));
    assert_int_equal(flow_set_size(f, 100, &e), -1);
    flow_unref(f);
}

struct listener {
    struct waiter waiter;
    int calls;
};

static void count_call(struct waiter *w)
{
    ((struct listener *)w)->calls++;
}

static void a_waiter_is_woken_once_and_only_for_its_news(void **state)
{
    struct fixture *x = *state;
    struct error e;
    struct flow *f = begin(x, -1);
    struct listener head = {.waiter.wake = count_call}, far = head, end = head, late = head;
    assert_true(flow_await(f, FLOW_HEAD, &head.waiter));
    assert_true(flow_await(f, 2 << 20, &far.waiter));
    assert_true(flow_await(f, FLOW_END, &end.waiter));
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_int_equal(head.calls, 1);
    assert_int_equal(flow_write(f, 0, x->blob, 1 << 20, &e), 0);
    flow_flush(f);
    assert_int_equal(far.calls, 0);
    assert_int_equal(flow_write(f, 1 << 20, x->blob + (1 << 20), 2 << 20, &e), 0);
    flow_flush(f);
    assert_int_equal(far.calls, 1);
    assert_int_equal(end.calls, 0);
    assert_int_equal(flow_finish(f, &e), 0);
    assert_int_equal(end.calls, 1);
    assert_int_equal(head.calls, 1);
    assert_false(flow_await(f, 0, &late.waiter));
    assert_int_equal(late.calls, 0);
    flow_unref(f);
}

static void the_producer_learns_which_bytes_are_waited_for(void **state)
{
    struct fixture *x = *state;
    struct error e;
    uint64_t wanted = 0;
    struct flow *f = begin(x, -1);
    struct listener head = {.waiter.wake = count_call}, far = head, near = head, end = head;
    assert_int_equal(flow_known_size(f), UINT64_MAX);
    assert_false(flow_wanted(f, 0, &wanted));
    assert_true(flow_await(f, FLOW_HEAD, &head.waiter));
    assert_true(flow_await(f, FLOW_END, &end.waiter));
    assert_true(flow_await(f, 2 << 20, &far.waiter));
    assert_true(flow_await(f, 1 << 20, &near.waiter));
    assert_true(flow_wanted(f, 0, &wanted));
    assert_int_equal(wanted, 1 << 20);
    assert_true(flow_wanted(f, wanted, &wanted));
    assert_int_equal(wanted, 2 << 20);
    assert_false(flow_wanted(f, wanted, &wanted));
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_int_equal(flow_known_size(f), SIZE);
    assert_int_equal(flow_write(f, 1 << 20, x->blob + (1 << 20), 100, &e), 0);
    assert_true(flow_wanted(f, 0, &wanted)); /* what is here is not waited for, told or not */
    assert_int_equal(wanted, 2 << 20);
    error_set(&e, ERR_UPSTREAM, "over");
    flow_fail(f, &e);
    assert_false(flow_wanted(f, 0, &wanted));
    flow_unref(f);
}

static void an_empty_blob_is_verified_with_nothing_written(void **state)
{
    struct fixture *x = *state;
    struct error e;
    uint64_t at, length, size;
    digest_of(DIGEST_SHA256, "", 0, &x->digest);
    struct flow *f = begin(x, -1);
    assert_int_equal(flow_set_size(f, 0, &e), 0);
    assert_false(flow_hole(f, 0, &at, &length));
    assert_int_equal(flow_finish(f, &e), 0);
    assert_true(flow_size(f, &size));
    assert_int_equal(size, 0);
    flow_unref(f);
}

struct follower {
    struct waiter waiter;
    struct flow *flow;
    struct fixture *fixture;
    struct mutex mutex;
    pthread_cond_t news;
    bool has_news;
    bool is_right;
};

static void tell(struct waiter *w)
{
    struct follower *o = (struct follower *)w;
    MUTEX_HOLD(&o->mutex);
    o->has_news = true;
    pthread_cond_signal(&o->news);
}

static void *follow(void *cls)
{
    struct follower *o = cls;
    char buffer[50000];
    uint64_t at = 0;
    struct error e;
    while (at < SIZE) {
        ssize_t n = flow_read(o->flow, at, buffer, sizeof buffer, &e);
        if (n < 0 || (n > 0 && memcmp(buffer, o->fixture->blob + at, (size_t)n) != 0))
            return NULL;
        at += (uint64_t)n;
        if (n > 0 || !flow_await(o->flow, at, &o->waiter))
            continue;
        MUTEX_HOLD(&o->mutex);
        while (!o->has_news)
            mutex_wait(&o->mutex, &o->news, -1);
        o->has_news = false;
    }
    o->is_right = true;
    return NULL;
}

static void many_followers_read_the_same_bytes_while_they_come(void **state)
{
    struct fixture *x = *state;
    enum { FOLLOWERS = 8, STEP = 10007 };
    struct follower followers[FOLLOWERS] = {0};
    pthread_t threads[FOLLOWERS];
    struct error e;
    struct flow *f = begin(x, -1);
    for (int i = 0; i < FOLLOWERS; i++) {
        followers[i] = (struct follower){.waiter.wake = tell, .flow = f, .fixture = x};
        mutex_init(&followers[i].mutex, RANK_ANSWER);
        cond_init(&followers[i].news);
        assert_int_equal(thread_start(&threads[i], "follower", follow, &followers[i], &e), 0);
    }
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    for (size_t at = 0; at < SIZE; at += STEP) {
        size_t n = SIZE - at < STEP ? SIZE - at : STEP;
        assert_int_equal(flow_write(f, at, x->blob + at, n, &e), 0);
        flow_flush(f);
    }
    assert_int_equal(flow_finish(f, &e), 0);
    for (int i = 0; i < FOLLOWERS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(followers[i].is_right);
        mutex_fini(&followers[i].mutex);
        pthread_cond_destroy(&followers[i].news);
    }
    flow_unref(f);
}

/* --- hashed beside ---------------------------------------------------------------------------- */

enum { LARGE = 12 << 20, PIECE = 48 << 10 };

struct large {
    char *bytes;
    struct hashing *hashing;
    struct flow *flow;
};

static struct large begin_large(struct fixture *x)
{
    struct error e;
    struct digest digest;
    struct large l = {.bytes = malloc(LARGE)};
    for (size_t i = 0; i < LARGE; i++)
        l.bytes[i] = (char)(i * 2246822519u >> 11);
    digest_of(DIGEST_SHA256, l.bytes, LARGE, &digest);
    l.hashing = hashing_start(&e);
    assert_non_null(l.hashing);
    l.flow = flow_new(x->store, &digest, LARGE);
    flow_open(l.flow);
    flow_hash_beside(l.flow, l.hashing);
    assert_int_equal(flow_set_size(l.flow, LARGE, &e), 0);
    return l;
}

static void end_large(struct large *l)
{
    flow_unref(l->flow);
    hashing_stop(l->hashing);
    free(l->bytes);
}

static void write_part(struct large *l, size_t from, size_t end)
{
    struct error e;
    for (size_t n; from < end; from += n) {
        n = end - from < PIECE ? end - from : PIECE;
        assert_int_equal(flow_write(l->flow, from, l->bytes + from, n, &e), 0);
        flow_flush(l->flow);
    }
}

static int finish_large(struct large *l, struct error *e)
{
    uint64_t at, length;
    assert_false(flow_hole(l->flow, 0, &at, &length));
    while (flow_hash_rest(l->flow, 1 << 20))
        ;
    return flow_finish(l->flow, e);
}

static void a_large_blob_is_verified_whatever_the_order_it_came_in(void **state)
{
    struct error e;
    for (int round = 0; round < 3; round++) {
        struct large l = begin_large(*state);
        size_t half = LARGE / 2 + 1;
        if (round == 0) {
            write_part(&l, 0, LARGE);
        } else if (round == 1) {
            write_part(&l, half, LARGE);
            write_part(&l, 0, half);
        } else { /* two lanes taking turns */
            for (size_t at = 0; at < half; at += PIECE) {
                write_part(&l, at, at + PIECE < half ? at + PIECE : half);
                write_part(&l, half + at, half + at + PIECE < LARGE ? half + at + PIECE : LARGE);
            }
        }
        assert_int_equal(finish_large(&l, &e), 0);
        char *read = malloc(LARGE);
        assert_int_equal(flow_read(l.flow, 0, read, LARGE, &e), LARGE);
        assert_memory_equal(read, l.bytes, LARGE);
        free(read);
        store_partial_remove(((struct fixture *)*state)->store, flow_digest(l.flow));
        end_large(&l);
    }
}

static void a_large_blob_with_one_wrong_byte_is_not_verified_and_may_begin_anew(void **state)
{
    struct error e;
    struct large l = begin_large(*state);
    l.bytes[LARGE / 3] ^= 1;
    write_part(&l, 0, LARGE);
    assert_int_equal(finish_large(&l, &e), -1);
    assert_int_equal(e.kind, ERR_CORRUPT);
    l.bytes[LARGE / 3] ^= 1;
    assert_true(flow_restart(l.flow));
    write_part(&l, 0, LARGE);
    assert_int_equal(finish_large(&l, &e), 0);
    end_large(&l);
}

static void a_large_blob_begins_anew_or_fails_while_it_is_hashed(void **state)
{
    struct error e;
    struct large l = begin_large(*state);
    write_part(&l, 0, LARGE - 1);
    assert_true(flow_restart(l.flow));
    write_part(&l, 0, LARGE - 1);
    error_set(&e, ERR_UPSTREAM, "gone");
    flow_fail(l.flow, &e);
    end_large(&l);
}

/* --- passing ---------------------------------------------------------------------------------- */

enum { CHUNK = 16 << 10, FITS = 1 << 20 };

static void set_budget(struct fixture *x, int64_t bytes)
{
    const struct room_limits limits = {.budget_bytes = bytes};
    room_set_limits(store_room(x->store), &limits);
}

/* Writes what there is room for, from *at on. */
static void fill_up(struct fixture *x, struct flow *f, uint64_t *at)
{
    struct error e = {0};
    while (*at < SIZE && flow_has_room(f, CHUNK, &e) == 1) {
        assert_int_equal(flow_write(f, *at, x->blob + *at, CHUNK, &e), 0);
        *at += CHUNK;
    }
}

/* All that can be read, from *at on; false: it is refused. */
static bool drink(struct fixture *x, struct flow *f, struct flow_reader *r, uint64_t *at)
{
    char buffer[50000];
    struct error e = {0};
    ssize_t n;
    while ((n = flow_read_as(f, r, *at, buffer, sizeof buffer, &e)) > 0) {
        assert_memory_equal(buffer, x->blob + *at, (size_t)n);
        *at += (uint64_t)n;
    }
    flow_read_as(f, r, *at, buffer, 1, &e);
    return n == 0;
}

static void what_does_not_fit_passes_and_its_reader_gets_all_of_it(void **state)
{
    struct fixture *x = *state;
    struct error e = {0};
    struct flow_reader reader;
    uint64_t written = 0, got = 0;
    char name[200], hex[DIGEST_HEX_MAX];
    struct stat st;
    set_budget(x, FITS);
    struct flow *f = begin(x, -1);
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_true(flow_join(f, &reader, 0));
    fill_up(x, f, &written);
    assert_true(flow_is_passing(f));
    assert_false(flow_is_past(f));
    assert_int_equal(written, FITS + WINDOW_BYTES); /* the file, and then the window */
    while (got < SIZE - 1) {
        assert_true(drink(x, f, &reader, &got));
        fill_up(x, f, &written);
    }
    assert_int_equal(flow_finish(f, &e), 0);
    assert_true(drink(x, f, &reader, &got));
    assert_int_equal(got, SIZE);
    assert_int_equal(room_taken(store_room(x->store)), 0);
    snprintf(name, sizeof name, "%s/ingest/sha256-%s", x->path, digest_hex(&x->digest, hex));
    assert_int_equal(stat(name, &st), -1);
    flow_leave(f, &reader);
    flow_unref(f);
}

static void what_was_doubted_is_read_once_it_passes(void **state)
{
    struct fixture *x = *state;
    auto_unref(flow) struct flow *f = begin(x, SIZE);
    const struct error why = {.kind = ERR_NO_SPACE, .text = "full"};
    struct error e;
    char *into = malloc(SIZE);
    flow_set_size(f, SIZE, &e);
    flow_doubt(f, 0, 3000);
    assert_int_equal(flow_write(f, 0, x->blob, 2000, &e), 0);
    flow_flush(f);
    assert_int_equal(flow_read(f, 0, into, SIZE, &e), 0);
    flow_pass(f, &why);
    assert_int_equal(flow_read(f, 0, into, SIZE, &e), 2000);
    assert_int_equal(flow_write(f, 2000, x->blob + 2000, 2000, &e), 0);
    assert_int_equal(flow_read(f, 2000, into, SIZE, &e), 2000);
    free(into);
}

static void what_passes_comes_in_order(void **state)
{
    struct fixture *x = *state;
    struct error e = {0};
    set_budget(x, 0);
    struct flow *f = begin(x, -1);
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_int_equal(flow_write(f, CHUNK, x->blob + CHUNK, CHUNK, &e), -1);
    assert_int_equal(e.kind, ERR_NO_SPACE);
    assert_int_equal(flow_write(f, 0, x->blob, CHUNK, &e), 0);
    assert_int_equal(flow_write(f, CHUNK, x->blob + CHUNK, CHUNK, &e), 0);
    flow_unref(f);
}

static void a_large_blob_passes_half_way_and_is_right(void **state)
{
    struct fixture *x = *state;
    struct error e;
    struct flow_reader reader;
    uint64_t at = 0, length, got = 0;
    char buffer[CHUNK];
    set_budget(x, 6 << 20);
    struct large l = begin_large(x);
    assert_true(flow_join(l.flow, &reader, 0));
    for (; at < LARGE && !flow_is_passing(l.flow); at += CHUNK)
        flow_write(l.flow, at, l.bytes + at, CHUNK, &e);
    assert_true(flow_hole(l.flow, 0, &at, &length)); /* what was gathered did not stay */
    assert_true(at > 0 && at <= 6 << 20);
    while (flow_hash_rest(l.flow, 1 << 20))
        ;
    for (ssize_t n; got < LARGE; got += (uint64_t)n) {
        for (; at < LARGE && flow_has_room(l.flow, CHUNK, &e) == 1; at += CHUNK - at % CHUNK)
            assert_int_equal(flow_write(l.flow, at, l.bytes + at, CHUNK - at % CHUNK, &e), 0);
        if (at == LARGE && flow_state(l.flow) == FLOW_STREAMING)
            assert_int_equal(flow_finish(l.flow, &e), 0);
        n = flow_read_as(l.flow, &reader, got, buffer, sizeof buffer, &e);
        assert_true(n > 0);
        assert_memory_equal(buffer, l.bytes + got, (size_t)n);
    }
    flow_leave(l.flow, &reader);
    end_large(&l);
}

static void who_comes_late_to_what_passed_is_sent_away(void **state)
{
    struct fixture *x = *state;
    struct error e = {0};
    struct flow_reader early, late;
    uint64_t written = 0, got = 0;
    char byte;
    set_budget(x, 0);
    struct flow *f = begin(x, -1);
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    fill_up(x, f, &written);
    assert_true(flow_join(f, &early, 0)); /* nothing went while nobody was there */
    assert_true(drink(x, f, &early, &got));
    assert_true(flow_is_past(f));
    assert_false(flow_join(f, &late, 0));
    assert_int_equal(flow_read(f, 0, &byte, 1, &e), -1);
    assert_int_equal(e.kind, ERR_NO_SPACE);
    flow_leave(f, &early);
    flow_unref(f);
}

static void reader_who_holds_up_the_others_is_cut_after_a_while(void **state)
{
    struct fixture *x = *state;
    struct error e = {0};
    struct flow_reader fast, slow;
    uint64_t written = 0, got = 0, none = 0;
    set_budget(x, 0);
    clock_freeze(1000, 1000);
    struct flow *f = begin(x, -1);
    assert_int_equal(flow_set_size(f, SIZE, &e), 0);
    assert_true(flow_join(f, &fast, 0) && flow_join(f, &slow, 0));
    fill_up(x, f, &written);
    assert_true(drink(x, f, &fast, &got));
    assert_int_equal(flow_has_room(f, CHUNK, &e), 0);
    clock_advance_ms(5000);
    assert_int_equal(flow_has_room(f, CHUNK, &e), 0); /* this is when it is cut */
    assert_int_equal(flow_has_room(f, CHUNK, &e), 1);
    assert_false(drink(x, f, &slow, &none));
    flow_leave(f, &slow);
    flow_leave(f, &fast);
    fill_up(x, f, &written);
    clock_advance_ms(5000);
    assert_int_equal(flow_has_room(f, CHUNK, &e), -1); /* and nobody is left */
    clock_real();
    flow_unref(f);
}

static bool next_one_passes(struct fixture *x)
{
    struct flow *f = begin(x, -1);
    bool is_passing = flow_is_passing(f);
    flow_unref(f);
    return is_passing;
}

static void what_the_disk_does_not_give_back_makes_the_next_pass_for_a_minute(void **state)
{
    struct fixture *x = *state;
    struct error e = {0};
    char byte, path[200], hex[DIGEST_HEX_MAX];
    clock_freeze(1000, 1000);
    struct flow *f = begin(x, SIZE);
    assert_int_equal(flow_write(f, 0, x->blob, SIZE, &e), 0);
    assert_false(next_one_passes(x));
    snprintf(path, sizeof path, "%s/ingest/sha256-%s", x->path, digest_hex(&x->digest, hex));
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(flow_read(f, 0, &byte, 1, &e), -1);
    assert_int_equal(e.kind, ERR_IO);
    assert_true(next_one_passes(x));
    clock_advance_ms(60 * 1000);
    assert_false(next_one_passes(x));
    clock_real();
    flow_unref(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_newest_byte_is_held_back_until_the_digest_matches),
        TEST(doubted_bytes_are_read_once_they_are_trusted_or_all_is_verified),
        TEST(bytes_that_were_given_to_nobody_can_be_dropped_and_others_take_their_place),
        TEST(wrong_bytes_never_verify_and_a_failed_flow_reads_as_failed),
        TEST(pieces_in_any_order_make_the_whole),
        TEST(more_than_the_promised_size_is_refused),
        TEST(a_later_flow_goes_on_where_an_earlier_one_stopped),
        TEST(what_is_a_hole_is_not_taken_up_whatever_the_map_says),
        TEST(a_restart_forgets_what_was_taken_up_unless_somebody_read_it),
        TEST(a_stated_size_goes_with_a_restart_unless_it_was_promised_or_told),
        TEST(the_rate_counts_what_came_and_not_what_was_taken_up),
        TEST(a_waiter_is_woken_once_and_only_for_its_news),
        TEST(the_producer_learns_which_bytes_are_waited_for),
        TEST(an_empty_blob_is_verified_with_nothing_written),
        TEST(many_followers_read_the_same_bytes_while_they_come),
        TEST(a_large_blob_is_verified_whatever_the_order_it_came_in),
        TEST(a_large_blob_with_one_wrong_byte_is_not_verified_and_may_begin_anew),
        TEST(a_large_blob_begins_anew_or_fails_while_it_is_hashed),
        TEST(what_does_not_fit_passes_and_its_reader_gets_all_of_it),
        TEST(what_was_doubted_is_read_once_it_passes),
        TEST(what_passes_comes_in_order),
        TEST(a_large_blob_passes_half_way_and_is_right),
        TEST(who_comes_late_to_what_passed_is_sent_away),
        TEST(reader_who_holds_up_the_others_is_cut_after_a_while),
        TEST(what_the_disk_does_not_give_back_makes_the_next_pass_for_a_minute),
    };
    log_configure(LOG_LEVEL_OFF, LOG_FORMAT_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
