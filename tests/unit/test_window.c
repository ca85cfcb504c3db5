/* SPDX-License-Identifier: Apache-2.0
 * What passes: bytes stay until every reader has them, and no reader holds up the others for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cache/window.h"

static bool has(const struct window *w, uint64_t offset, const char *bytes)
{
    uint64_t length;
    const char *at = window_at(w, offset, &length);
    return at && length == strlen(bytes) && memcmp(at, bytes, (size_t)length) == 0;
}

static void bytes_are_found_where_they_were_put(void **state)
{
    struct window w;
    uint64_t length;
    (void)state;
    window_init(&w);
    window_add(&w, 10, "abc", 3);
    window_add(&w, 20, "de", 2);
    assert_true(has(&w, 10, "abc"));
    assert_true(has(&w, 12, "c"));
    assert_true(has(&w, 21, "e"));
    assert_null(window_at(&w, 13, &length));
    assert_int_equal(length, 7);
    assert_null(window_at(&w, 22, &length));
    assert_int_equal(length, UINT64_MAX);
    window_fini(&w);
}

static void nothing_goes_before_the_first_reader_came(void **state)
{
    struct window w;
    struct flow_reader one;
    (void)state;
    window_init(&w);
    window_add(&w, 0, "abc", 3);
    assert_int_equal(w.passed, 0);
    window_join(&w, &one, 0);
    window_move(&w, &one, 3);
    assert_int_equal(w.passed, 3);
    assert_int_equal(w.bytes, 0);
    window_leave(&w, &one);
    window_fini(&w);
}

static void what_the_last_reader_wants_stays(void **state)
{
    struct window w;
    struct flow_reader fast, slow;
    (void)state;
    window_init(&w);
    window_add(&w, 0, "abc", 3);
    window_add(&w, 3, "def", 3);
    window_join(&w, &fast, 0);
    window_join(&w, &slow, 0);
    window_move(&w, &fast, 6);
    assert_true(has(&w, 0, "abc"));
    window_move(&w, &slow, 4);
    assert_true(has(&w, 3, "def"));
    assert_int_equal(w.passed, 3);
    window_leave(&w, &slow); /* and with it what it wanted */
    assert_int_equal(w.passed, 6);
    window_leave(&w, &fast);
    window_fini(&w);
}

static void what_all_are_ahead_of_goes_at_once(void **state)
{
    struct window w;
    struct flow_reader one;
    (void)state;
    window_init(&w);
    window_join(&w, &one, 5);
    window_add(&w, 0, "abc", 3);
    window_add(&w, 3, "def", 3);
    assert_int_equal(w.passed, 3);
    assert_true(has(&w, 3, "def"));
    window_leave(&w, &one);
    window_fini(&w);
}

static void the_last_is_cut_only_if_somebody_is_ahead(void **state)
{
    struct window w;
    struct flow_reader fast, slow;
    (void)state;
    window_init(&w);
    assert_false(window_cut_last(&w)); /* there is nobody */
    window_add(&w, 0, "abc", 3);
    window_join(&w, &slow, 0);
    assert_true(window_cut_last(&w));
    assert_false(slow.is_cut);
    window_join(&w, &fast, 0);
    window_move(&w, &fast, 3);
    assert_true(window_cut_last(&w));
    assert_true(slow.is_cut);
    assert_false(fast.is_cut);
    assert_int_equal(w.passed, 3);
    window_leave(&w, &slow);
    window_leave(&w, &fast);
    window_fini(&w);
}

static void it_is_full_at_its_size(void **state)
{
    struct window w;
    static char block[WINDOW_BYTES];
    (void)state;
    window_init(&w);
    assert_true(window_has_room(&w, WINDOW_BYTES));
    window_add(&w, 0, block, WINDOW_BYTES);
    assert_false(window_has_room(&w, 1));
    window_clear(&w);
    assert_true(window_has_room(&w, WINDOW_BYTES));
    window_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_found_where_they_were_put),
        cmocka_unit_test(nothing_goes_before_the_first_reader_came),
        cmocka_unit_test(what_the_last_reader_wants_stays),
        cmocka_unit_test(what_all_are_ahead_of_goes_at_once),
        cmocka_unit_test(the_last_is_cut_only_if_somebody_is_ahead),
        cmocka_unit_test(it_is_full_at_its_size),
    };
    return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
