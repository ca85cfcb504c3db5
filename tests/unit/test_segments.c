/* SPDX-License-Identifier: Apache-2.0
 * Which bytes are present: beside a model with one flag a byte, and through its form on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/str.h"
#include "cache/segments.h"

enum { SIZE = 64, STEPS = 2000 };

static uint64_t dice(uint64_t *state, uint64_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % below;
}

static uint64_t run(const bool *flags, uint64_t from, bool what)
{
    uint64_t n = 0;
    while (from + n < SIZE && flags[from + n] == what)
        n++;
    return n;
}

static void check(const struct segments *s, const bool *flags)
{
    uint64_t sum = 0, end = 0, at, length;
    for (uint64_t i = 0; i < SIZE; i++) {
        sum += flags[i];
        end = flags[i] ? i + 1 : end;
        assert_int_equal(segments_from(s, i), run(flags, i, true));
        uint64_t hole = i + run(flags, i, true);
        assert_int_equal(segments_hole(s, i, SIZE, &at, &length), hole < SIZE);
        if (hole < SIZE) {
            assert_int_equal(at, hole);
            assert_int_equal(length, run(flags, hole, false));
        }
    }
    assert_int_equal(segments_sum(s), sum);
    assert_int_equal(segments_end(s), end);
    for (uint64_t i = 0; i < SIZE; i++) {
        uint64_t next = i + run(flags, i, false);
        assert_true(segments_next(s, i) == (next < SIZE ? next : UINT64_MAX));
    }
    for (size_t i = 1; i < s->count; i++)
        assert_true(s->parts[i - 1].end < s->parts[i].first);
}

static void what_is_added_in_any_order_is_present_and_nothing_else(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < STEPS / 20; round++) {
        struct segments s = {0};
        bool flags[SIZE] = {false};
        check(&s, flags);
        for (int i = 0; i < 20; i++) {
            uint64_t first = dice(&seed, SIZE), end = first + 1 + dice(&seed, SIZE - first);
            if (end - first > 9)
                end = first + 9;
            segments_add(&s, first, end);
            memset(flags + first, true, end - first);
            check(&s, flags);
        }
        segments_fini(&s);
    }
}

static void what_is_removed_is_gone_and_nothing_else(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < STEPS / 20; round++) {
        struct segments s = {0};
        bool flags[SIZE] = {false};
        for (int i = 0; i < 40; i++) {
            uint64_t first = dice(&seed, SIZE), end = first + 1 + dice(&seed, SIZE - first);
            bool is_added = dice(&seed, 2) == 0;
            (is_added ? segments_add : segments_remove)(&s, first, end);
            memset(flags + first, is_added, end - first);
            check(&s, flags);
        }
        segments_fini(&s);
    }
}

static void thinning_joins_the_nearest(void **state)
{
    (void)state;
    struct segments s = {0};
    segments_add(&s, 0, 10);
    segments_add(&s, 20, 30);
    segments_add(&s, 31, 40);
    segments_thin(&s, 2);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.parts[1].first, 20);
    assert_int_equal(s.parts[1].end, 40);
    segments_thin(&s, 1);
    assert_int_equal(segments_from(&s, 0), 40);
    segments_fini(&s);
}

static void a_hole_without_a_known_end_has_no_length(void **state)
{
    (void)state;
    struct segments s = {0};
    uint64_t at, length;
    segments_add(&s, 0, 10);
    assert_true(segments_hole(&s, 0, UINT64_MAX, &at, &length));
    assert_int_equal(at, 10);
    assert_true(length == UINT64_MAX);
    segments_fini(&s);
}

static void what_was_printed_reads_as_it_was(void **state)
{
    (void)state;
    struct segments s = {0}, again = {0};
    autostr struct str text = {0};
    int64_t size = 0;
    segments_add(&s, 0, 10);
    segments_add(&s, 20, 30);
    segments_print(&s, 40, &text);
    assert_string_equal(text.text, "tranship-map 1 40\n0 10\n20 30\n");
    assert_true(segments_read(&again, text.text, &size));
    assert_int_equal(size, 40);
    assert_int_equal(again.count, 2);
    assert_memory_equal(again.parts, s.parts, 2 * sizeof *s.parts);
    segments_fini(&s);
    segments_fini(&again);
}

static void a_map_that_makes_no_sense_is_refused_as_a_whole(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "tranship-map 2 40\n0 10\n",
        "tranship-map 1 40\n",
        "tranship-map 1 40\n10 10\n",
        "tranship-map 1 40\n10 5\n",
        "tranship-map 1 40\n0 10\n5 20\n",
        "tranship-map 1 40\n0 41\n",
        "tranship-map 1 40\n0 10\nrubbish\n",
        "tranship-map 1 40\n0 10",
        "tranship-map 1 40\n0  10\n",
        "tranship-map 1 -7\n0 10\n",
        "tranship-map 1 -1\n-20 -10\n",
        "tranship-map 1 -1\n0 18446744073709551615\n",
        "tranship-map 1 99999999999999999999\n0 10\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct segments s = {0};
        int64_t size;
        assert_false(segments_read(&s, bad[i], &size));
        assert_int_equal(s.count, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_added_in_any_order_is_present_and_nothing_else),
        cmocka_unit_test(what_is_removed_is_gone_and_nothing_else),
        cmocka_unit_test(thinning_joins_the_nearest),
        cmocka_unit_test(a_hole_without_a_known_end_has_no_length),
        cmocka_unit_test(what_was_printed_reads_as_it_was),
        cmocka_unit_test(a_map_that_makes_no_sense_is_refused_as_a_whole),
    };
    return cmocka_run_group_tests_name("segments", tests, NULL, NULL);
}
