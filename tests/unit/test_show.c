/* SPDX-License-Identifier: Apache-2.0
 * What commands show of numbers, times and strangers' words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/str.h"
#include "cli/show.h"

static void check(struct str *shown, const char *meant)
{
    assert_string_equal(str_text(shown), meant);
    str_fini(shown);
}

static void sizes_are_rounded_down_to_a_tenth_of_the_largest_unit(void **state)
{
    static const struct {
        int64_t bytes;
        const char *meant;
    } cases[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1126, "1.0 KiB"},
        {1127, "1.1 KiB"},
        {(1 << 20) - 1, "1023.9 KiB"},
        {1 << 20, "1.0 MiB"},
        {INT64_C(5) << 30, "5.0 GiB"},
        {INT64_C(3) << 40, "3.0 TiB"},
        {INT64_MAX, "8191.9 PiB"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str out = {0};
        show_bytes(&out, cases[i].bytes);
        check(&out, cases[i].meant);
    }
}

static void durations_have_their_two_largest_units(void **state)
{
    static const struct {
        int64_t ms;
        const char *meant;
    } cases[] = {
        {0, "0s"},
        {1, "1ms"},
        {999, "999ms"},
        {1000, "1s"},
        {1999, "1s"},
        {60000, "1m"},
        {192000, "3m12s"},
        {3600000, "1h"},
        {3659000, "1h"},
        {3660000, "1h1m"},
        {86400000, "1d"},
        {273600000, "3d4h"},
        {INT64_MAX, "106751991167d7h"},
        {-1, "0s"},
        {-90000000, "0s"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str out = {0};
        show_duration(&out, cases[i].ms);
        check(&out, cases[i].meant);
    }
}

static void a_strangers_word_moves_no_cursor(void **state)
{
    struct str out = {0};
    (void)state;
    show_foreign(&out, "a\x1b[2J\r\n\x7f\xc2\x9b~ b");
    check(&out, "a?[2J?????~ b");
}

static void what_an_answer_does_not_say_is_nothing(void **state)
{
    static const char text[] = "{\"n\":7,\"big\":1e300,\"t\":\"x\"}";
    autojson struct json_t *of = json_parse(text, strlen(text), NULL);
    (void)state;
    assert_non_null(of);
    assert_int_equal(show_number(of, "n"), 7);
    assert_int_equal(show_number(of, "t"), 0);
    assert_int_equal(show_number(of, "big"), 0);
    assert_int_equal(show_number(of, "none"), 0);
    assert_string_equal(show_text(of, "t"), "x");
    assert_string_equal(show_text(of, "n"), "-");
    assert_string_equal(show_text(of, "none"), "-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_rounded_down_to_a_tenth_of_the_largest_unit),
        cmocka_unit_test(durations_have_their_two_largest_units),
        cmocka_unit_test(a_strangers_word_moves_no_cursor),
        cmocka_unit_test(what_an_answer_does_not_say_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
