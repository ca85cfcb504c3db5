/* SPDX-License-Identifier: Apache-2.0
 * When a tag is asked again, at chosen times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mirror/freshness.h"

static const struct freshness_rules online = {MODE_ONLINE, 60000, 10000, 5000};
enum { NOW = 1000000 };

static void a_confirmed_tag_is_fresh_for_its_time_and_not_longer(void **state)
{
    (void)state;
    struct freshness f = {.is_held = true, .checked_at_ms = NOW - 59999};
    assert_int_equal(freshness_judge(&online, &f, NOW), FRESH_SERVE);
    f.checked_at_ms = NOW - 60000;
    assert_int_equal(freshness_judge(&online, &f, NOW), FRESH_ASK);
}

static void a_clock_that_jumped_back_makes_a_tag_stale_not_fresh_for_ever(void **state)
{
    (void)state;
    struct freshness f = {.is_held = true, .checked_at_ms = NOW + 3600000};
    assert_int_equal(freshness_judge(&online, &f, NOW), FRESH_ASK);
}

static void a_time_that_no_clock_told_is_none(void **state)
{
    (void)state;
    assert_int_equal(freshness_ms_of(1700000000), 1700000000000);
    assert_int_equal(freshness_ms_of(0), 0);
    assert_int_equal(freshness_ms_of(INT64_MAX), 0);
    assert_int_equal(freshness_ms_of(INT64_MIN), 0);
}

static void a_failed_confirmation_is_not_repeated_at_once(void **state)
{
    (void)state;
    struct freshness f = {.is_held = true, .checked_at_ms = 1, .failed_at_ms = NOW - 4999};
    assert_int_equal(freshness_judge(&online, &f, NOW), FRESH_SERVE_STALE);
    f.failed_at_ms = NOW - 5000;
    assert_int_equal(freshness_judge(&online, &f, NOW), FRESH_ASK);
}

static void a_404_is_believed_for_a_while(void **state)
{
    (void)state;
    struct freshness f = {.missing_at_ms = NOW - 9999};
    assert_int_equal(freshness_judge(&online, &f, NOW), FRESH_MISSING);
    f.missing_at_ms = NOW - 10000;
    assert_int_equal(freshness_judge(&online, &f, NOW), FRESH_ASK);
}

static void an_immutable_tag_that_was_confirmed_is_never_asked_again(void **state)
{
    (void)state;
    struct freshness f = {.is_held = true, .is_immutable = true, .checked_at_ms = 1};
    assert_int_equal(freshness_judge(&online, &f, NOW), FRESH_SERVE);
    f.checked_at_ms = 0;
    assert_int_equal(freshness_judge(&online, &f, NOW), FRESH_ASK);
    f = (struct freshness){.is_immutable = true, .checked_at_ms = 1};
    assert_int_equal(freshness_judge(&online, &f, NOW), FRESH_ASK);
}

static void offline_serves_what_is_held_and_never_asks(void **state)
{
    (void)state;
    struct freshness_rules rules = online;
    struct freshness f = {.is_held = true, .checked_at_ms = NOW - 999};
    rules.mode = MODE_OFFLINE;
    assert_int_equal(freshness_judge(&rules, &f, NOW), FRESH_SERVE);
    f.checked_at_ms = 1;
    assert_int_equal(freshness_judge(&rules, &f, NOW), FRESH_SERVE_STALE);
    f.is_immutable = true;
    assert_int_equal(freshness_judge(&rules, &f, NOW), FRESH_SERVE);
    f = (struct freshness){.missing_at_ms = NOW};
    assert_int_equal(freshness_judge(&rules, &f, NOW), FRESH_OFFLINE);
}

static void prefer_cache_serves_first_and_asks_behind(void **state)
{
    (void)state;
    struct freshness_rules rules = online;
    struct freshness f = {.is_held = true};
    rules.mode = MODE_PREFER_CACHE;
    assert_int_equal(freshness_judge(&rules, &f, NOW), FRESH_SERVE_BEHIND);
}

static void what_could_not_be_confirmed_since_is_in_doubt(void **state)
{
    (void)state;
    assert_false(freshness_is_in_doubt(&(struct freshness){.checked_at_ms = 5}));
    assert_false(freshness_is_in_doubt(&(struct freshness){.checked_at_ms = 5, .failed_at_ms = 4}));
    assert_true(freshness_is_in_doubt(&(struct freshness){.checked_at_ms = 5, .failed_at_ms = 5}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_confirmed_tag_is_fresh_for_its_time_and_not_longer),
        cmocka_unit_test(a_clock_that_jumped_back_makes_a_tag_stale_not_fresh_for_ever),
        cmocka_unit_test(a_time_that_no_clock_told_is_none),
        cmocka_unit_test(a_failed_confirmation_is_not_repeated_at_once),
        cmocka_unit_test(a_404_is_believed_for_a_while),
        cmocka_unit_test(an_immutable_tag_that_was_confirmed_is_never_asked_again),
        cmocka_unit_test(offline_serves_what_is_held_and_never_asks),
        cmocka_unit_test(prefer_cache_serves_first_and_asks_behind),
        cmocka_unit_test(what_could_not_be_confirmed_since_is_in_doubt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
