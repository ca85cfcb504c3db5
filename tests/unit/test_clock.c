/* SPDX-License-Identifier: Apache-2.0
 * clock: frozen it stands still and moves on request, also while other threads read it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static void frozen_clocks_give_what_they_were_set_to(void **state)
{
    (void)state;
    clock_freeze(1000, 5000);
    assert_int_equal(clock_wall_s(), 1000);
    assert_int_equal(clock_mono_ms(), 5000);
    assert_int_equal(clock_mono_us(), 5000000);
    clock_real();
}

static void advancing_moves_both_and_keeps_the_parts_of_a_second(void **state)
{
    (void)state;
    clock_freeze(1000, 0);
    clock_advance_ms(600);
    assert_int_equal(clock_wall_s(), 1000);
    assert_int_equal(clock_mono_ms(), 600);
    clock_advance_ms(600);
    assert_int_equal(clock_wall_s(), 1001);
    assert_int_equal(clock_mono_ms(), 1200);
    clock_real();
}

static void the_wall_clock_rounds_down_before_1970(void **state)
{
    (void)state;
    clock_freeze(-2, 0);
    assert_int_equal(clock_wall_s(), -2);
    clock_advance_ms(1);
    assert_int_equal(clock_wall_s(), -2);
    clock_advance_ms(999);
    assert_int_equal(clock_wall_s(), -1);
    clock_real();
}

static void real_clocks_run_again_after_a_freeze(void **state)
{
    (void)state;
    clock_freeze(0, 0);
    clock_real();
    time_t before = time(NULL);
    assert_in_range(clock_wall_s(), before - 1, before + 60);
    int64_t start = clock_mono_us();
    assert_true(start > 0);
    while (clock_mono_us() == start) /* ends only if it runs */
        ;
    assert_true(clock_mono_us() > start);
}

static const struct {
    int64_t wall_s;
    const char *text;
} dates[] = {
    {0, "1970-01-01T00:00:00Z"},          {-1, "1969-12-31T23:59:59Z"},
    {1795479302, "2026-11-24T00:15:02Z"}, {951782399, "2000-02-28T23:59:59Z"},
    {951782400, "2000-02-29T00:00:00Z"},  {951868800, "2000-03-01T00:00:00Z"},
    {4107542400, "2100-03-01T00:00:00Z"}, {4107542399, "2100-02-28T23:59:59Z"},
    {1709251199, "2024-02-29T23:59:59Z"}, {253402300799, "9999-12-31T23:59:59Z"},
};

static void dates_are_written_as_rfc_3339_has_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++) {
        char out[24];
        assert_ptr_equal(clock_format(dates[i].wall_s, out), out);
        assert_string_equal(out, dates[i].text);
    }
}

static void dates_agree_with_the_c_library_over_eight_centuries(void **state)
{
    (void)state;
    for (int64_t t = -12219292800; t < 13000000000; t += 86400 * 3 + 12345) {
        char out[24], expected[24];
        struct tm parts;
        time_t at = (time_t)t;
        gmtime_r(&at, &parts);
        strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ", &parts);
        assert_string_equal(clock_format(t, out), expected);
    }
}

static void absurd_dates_are_clamped_to_four_digit_years(void **state)
{
    (void)state;
    char out[24];
    assert_string_equal(clock_format(INT64_MAX, out), "9999-12-31T23:59:59Z");
    assert_string_equal(clock_format(INT64_MIN, out), "0000-01-01T00:00:00Z");
}

static _Atomic bool is_over;

static void *read_clocks(void *cls)
{
    int64_t last = 0, wrong = 0;
    while (!atomic_load(&is_over)) {
        int64_t now = clock_mono_ms();
        wrong += now < last || clock_wall_s() < 1000000;
        last = now;
    }
    *(int64_t *)cls = wrong;
    return NULL;
}

static void readers_never_see_a_frozen_clock_go_back(void **state)
{
    (void)state;
    enum { READERS = 3 };
    pthread_t threads[READERS];
    int64_t wrong[READERS];
    atomic_store(&is_over, false);
    clock_freeze(1000000, 1000);
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_clocks, &wrong[i]), 0);
    for (int i = 0; i < 20000; i++)
        clock_advance_ms(1);
    atomic_store(&is_over, true);
    for (size_t i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
    assert_int_equal(clock_mono_ms(), 21000);
    clock_real();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frozen_clocks_give_what_they_were_set_to),
        cmocka_unit_test(advancing_moves_both_and_keeps_the_parts_of_a_second),
        cmocka_unit_test(the_wall_clock_rounds_down_before_1970),
        cmocka_unit_test(real_clocks_run_again_after_a_freeze),
        cmocka_unit_test(dates_are_written_as_rfc_3339_has_them),
        cmocka_unit_test(dates_agree_with_the_c_library_over_eight_centuries),
        cmocka_unit_test(absurd_dates_are_clamped_to_four_digit_years),
        cmocka_unit_test(readers_never_see_a_frozen_clock_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
