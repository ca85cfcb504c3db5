/* SPDX-License-Identifier: Apache-2.0
 * Who takes how much: sums, reservations, what is above a level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "cache/room.h"
#include "data_folder.h"

enum { MB = 1000 * 1000, BLOCK = 4096 };

static struct room *room_of(void **state)
{
    return store_room(((struct data_folder *)*state)->store);
}

static void set_budget(struct room *r, int64_t bytes)
{
    const struct room_limits limits = {.budget_bytes = bytes};
    room_set_limits(r, &limits);
}

static void without_limits_the_disk_is_the_limit(void **state)
{
    struct room *r = room_of(state);
    struct digest one = digest_of_text("one"), two = digest_of_text("two");
    int64_t limit = room_limit(r);
    assert_true(limit > 0);
    assert_false(room_could_fit(r, UINT64_C(1) << 60));
    assert_false(room_reserve(r, &one, UINT64_C(1) << 60));
    assert_true(room_reserve(r, &one, (uint64_t)limit / 2));
    assert_false(room_reserve(r, &two, (uint64_t)limit / 4 * 3));
    assert_int_equal(room_excess(r, 98), 0);
}

static void what_is_reserved_is_taken_until_it_ends(void **state)
{
    struct room *r = room_of(state);
    struct digest one = digest_of_text("one"), two = digest_of_text("two");
    set_budget(r, 10 * MB);
    room_add_blobs(r, 2 * MB);
    room_set_index(r, 1 * MB);
    assert_true(room_reserve(r, &one, 4 * MB));
    assert_true(room_reserve(r, &one, 4 * MB)); /* of one content, once */
    assert_int_equal(room_taken(r), 3 * MB + room_of_file(4 * MB));
    assert_false(room_reserve(r, &two, 3 * MB + BLOCK));
    assert_int_equal(room_taken(r), 3 * MB + room_of_file(4 * MB));
    room_end(r, &one);
    assert_int_equal(room_taken(r), 3 * MB);
    assert_true(room_reserve(r, &two, 3 * MB + BLOCK));
}

static void writing_what_was_reserved_takes_nothing_more(void **state)
{
    struct room *r = room_of(state);
    struct digest d = digest_of_text("blob");
    set_budget(r, 10 * MB);
    assert_true(room_reserve(r, &d, 9 * MB));
    room_begin(r, &d, 0);
    assert_true(room_write(r, &d, 5 * MB));
    assert_int_equal(room_taken(r), room_of_file(9 * MB));
    room_rest(r, &d, 5 * MB); /* it broke: what came stays, what did not is free again */
    assert_int_equal(room_taken(r), 5 * MB);
    assert_true(room_reserve(r, &d, 9 * MB)); /* and counts when it goes on */
    assert_int_equal(room_taken(r), room_of_file(9 * MB));
}

static void content_of_unknown_size_grows_until_nothing_fits(void **state)
{
    struct room *r = room_of(state);
    struct digest d = digest_of_text("blob");
    int64_t written = 0;
    set_budget(r, 20 * MB);
    room_begin(r, &d, 0);
    while (room_write(r, &d, MB))
        written += MB;
    assert_int_equal(written, 20 * MB);
    assert_int_equal(room_taken(r), 20 * MB);
    assert_true(room_write(r, &d, -written)); /* begun again */
    assert_true(room_write(r, &d, MB));
}

static void who_rests_longest_goes_first_and_who_is_filled_never(void **state)
{
    struct room *r = room_of(state);
    struct digest one = digest_of_text("one"), two = digest_of_text("two"), active, gone;
    active = digest_of_text("active");
    room_rest(r, &one, 1000);
    room_rest(r, &two, 2000);
    room_begin(r, &active, 500);
    room_begin(r, &one, 1000);
    room_rest(r, &one, 3000);
    assert_int_equal(room_taken(r), 5500);
    assert_int_equal(room_take_resting(r, &gone), 2000);
    assert_true(digest_equals(&gone, &two));
    assert_int_equal(room_take_resting(r, &gone), 3000);
    assert_true(digest_equals(&gone, &one));
    assert_int_equal(room_take_resting(r, &gone), 0);
    assert_int_equal(room_taken(r), 500);
}

static void excess_is_what_is_above_the_level_or_lacks_to_who_waits(void **state)
{
    struct room *r = room_of(state);
    set_budget(r, 100 * MB);
    room_add_blobs(r, 97 * MB);
    assert_int_equal(room_excess(r, 98), 0);
    assert_int_equal(room_excess(r, 95), 2 * MB);
    room_want(r, 10 * MB);
    assert_int_equal(room_excess(r, 98), 7 * MB);
    room_want(r, -10 * MB);
    set_budget(r, 50 * MB); /* as after SIGHUP */
    assert_int_equal(room_excess(r, 98), 48 * MB);
    assert_false(room_could_fit(r, 49 * MB));
    assert_true(room_could_fit(r, 47 * MB));
}

static void what_others_need_of_the_disk_stays_free(void **state)
{
    struct room *r = room_of(state);
    struct digest d = digest_of_text("blob");
    struct room_limits limits = {.budget_bytes = -1, .keep_free_bytes = INT64_MAX / 2};
    room_set_limits(r, &limits);
    assert_int_equal(room_limit(r), 0);
    assert_false(room_reserve(r, &d, 1));
    limits = (struct room_limits){.budget_bytes = -1, .keep_free_percent = 100};
    room_set_limits(r, &limits);
    assert_false(room_reserve(r, &d, 1));
    limits = (struct room_limits){.budget_bytes = -1, .keep_free_bytes = 1};
    room_set_limits(r, &limits);
    assert_true(room_limit(r) > 0 && room_limit(r) < INT64_MAX);
    assert_true(room_reserve(r, &d, 1));
}

static void disk_that_refused_is_taken_for_full_for_a_minute(void **state)
{
    struct room *r = room_of(state);
    clock_freeze(1000, 1000);
    room_add_blobs(r, 100 * MB);
    room_note_full(r);
    assert_int_equal(room_limit(r), 98 * MB);
    assert_true(room_excess(r, 98) > 0);
    room_add_blobs(r, -10 * MB);
    room_note_full(r); /* still the same */
    assert_int_equal(room_limit(r), 98 * MB);
    clock_advance_ms(60 * 1000);
    assert_true(room_limit(r) > 100 * MB);
    clock_real();
}

static void nobody_waits_where_nothing_may_go_until_something_went(void **state)
{
    struct room *r = room_of(state);
    room_set_stuck(r, true);
    room_add_blobs(r, 1);
    assert_true(room_is_stuck(r));
    room_add_blobs(r, -1);
    assert_false(room_is_stuck(r));
}

static void store_counts_what_comes_and_goes(void **state)
{
    struct data_folder *f = *state;
    struct room *r = store_room(f->store);
    struct digest d = digest_of_text("some content");
    struct error e = {0};
    hold_text(f, "some content");
    assert_int_equal(room_taken(r), BLOCK);
    hold_text(f, "some content");
    assert_int_equal(room_taken(r), BLOCK);
    assert_int_equal(store_remove(f->store, &d, &e), 1);
    assert_int_equal(store_remove(f->store, &d, &e), 0);
    assert_int_equal(room_taken(r), 0);
}

static void content_on_its_way_in_is_counted_right_after_a_start(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("half"), gone;
    struct error e = {0};
    char path[400];
    unsigned kept = 0, dropped = 0;
    write_file(partial_path(f, &d, "", path), "half of it");
    write_file(partial_path(f, &d, ".map", path), "tranship-map 1 20\n0 10\n");
    assert_int_equal(store_sweep_ingest(f->store, 3600, &kept, &dropped, &e), 0);
    assert_int_equal(kept, 1);
    assert_true(room_taken(store_room(f->store)) >= BLOCK);
    assert_true(room_take_resting(store_room(f->store), &gone) >= BLOCK);
    assert_true(digest_equals(&gone, &d));
}

#define T(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(without_limits_the_disk_is_the_limit),
        T(what_is_reserved_is_taken_until_it_ends),
        T(writing_what_was_reserved_takes_nothing_more),
        T(content_of_unknown_size_grows_until_nothing_fits),
        T(who_rests_longest_goes_first_and_who_is_filled_never),
        T(excess_is_what_is_above_the_level_or_lacks_to_who_waits),
        T(what_others_need_of_the_disk_stays_free),
        T(disk_that_refused_is_taken_for_full_for_a_minute),
        T(nobody_waits_where_nothing_may_go_until_something_went),
        T(store_counts_what_comes_and_goes),
        T(content_on_its_way_in_is_counted_right_after_a_start),
    };
    log_configure(LOG_LEVEL_OFF, LOG_FORMAT_TEXT);
    return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}
