/* SPDX-License-Identifier: Apache-2.0
 * range: what clients really send, and every header that must be as good as none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/str.h"
#include "oci/range.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static enum range_result result_of(const char *header, uint64_t size)
{
    struct range_set set = {0};
    enum range_result result = range_parse(slice_of(header), size, &set);
    if (result == RANGE_SATISFIABLE)
        range_set_fini(&set);
    assert_null(set.ranges);
    return result;
}

static void assert_one(const char *header, uint64_t size, uint64_t first, uint64_t last)
{
    struct range_set set = {0};
    if (range_parse(slice_of(header), size, &set) != RANGE_SATISFIABLE)
        fail_msg("\"%s\" of %llu bytes is not satisfiable", header, (unsigned long long)size);
    assert_int_equal(set.count, 1);
    assert_int_equal(set.ranges[0].first, first);
    assert_int_equal(set.ranges[0].last, last);
    assert_int_equal(range_set_bytes(&set), last - first + 1);
    range_set_fini(&set);
}

static void one_range_is_inclusive_and_clamped_to_the_size(void **state)
{
    (void)state;
    assert_one("bytes=0-0", 10, 0, 0);
    assert_one("bytes=5-9", 10, 5, 9);
    assert_one("bytes=5-10", 10, 5, 9);
    assert_one("bytes=5-99999999999999999999999999", 10, 5, 9);
    assert_one("bytes=5-18446744073709551615", 10, 5, 9);
    assert_one("bytes=0-0", 1, 0, 0);
    assert_one("bytes=007-008", 10, 7, 8);
}

static void an_open_range_reaches_to_the_end(void **state)
{
    (void)state;
    assert_one("bytes=0-", 10, 0, 9);
    assert_one("bytes=9-", 10, 9, 9);
    assert_one("bytes=1-", UINT64_MAX, 1, UINT64_MAX - 1);
}

static void a_suffix_is_the_last_bytes(void **state)
{
    (void)state;
    assert_one("bytes=-3", 10, 7, 9);
    assert_one("bytes=-10", 10, 0, 9);
    assert_one("bytes=-11", 10, 0, 9);
    assert_one("bytes=-99999999999999999999999999", 10, 0, 9);
}

static void the_unit_may_be_of_any_case_and_blanks_surround_members(void **state)
{
    (void)state;
    assert_one("BYTES=1-2", 10, 1, 2);
    assert_one(" bytes=1-2\t", 10, 1, 2);
    assert_one("bytes= 1-2 ,", 10, 1, 2);
    assert_one("bytes=,,1-2,,", 10, 1, 2);
}

static void what_begins_past_the_end_is_unsatisfiable(void **state)
{
    (void)state;
    assert_int_equal(result_of("bytes=10-", 10), RANGE_UNSATISFIABLE);
    assert_int_equal(result_of("bytes=10-11", 10), RANGE_UNSATISFIABLE);
    assert_int_equal(result_of("bytes=99999999999999999999999999-", 10), RANGE_UNSATISFIABLE);
    assert_int_equal(result_of("bytes=-0", 10), RANGE_UNSATISFIABLE);
    assert_int_equal(result_of("bytes=0-", 0), RANGE_UNSATISFIABLE);
    assert_int_equal(result_of("bytes=-1", 0), RANGE_UNSATISFIABLE);
    assert_int_equal(result_of("bytes=10-,20-30,-0", 10), RANGE_UNSATISFIABLE);
}

static void malformed_headers_mean_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           "bytes",      "bytes=",      "bytes=,",       "bytes=-",       "bytes=a-b",
        "bytes=5",    "bytes=9-5",  "bytes=1-2-3", "bytes=--1",     "bytes=1--2",    "bytes=+1-2",
        "bytes 1-2",  "bytes =1-2", "items=1-2",   "octets=0-",     "=0-1",          "bytes=1 - 2",
        "bytes=0x1-", "bytes=1-2x", "bytes=0-1,x", "bytes=0-1,9-5", "bytes=0-1;2-3", "bytes=-5-",
        "bytes==0-1", "xbytes=0-1",
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        if (result_of(bad[i], 10) != RANGE_IGNORE)
            fail_msg("\"%s\" is not ignored", bad[i]);
    assert_int_equal(result_of(NULL, 10), RANGE_IGNORE);
}

static void several_ranges_keep_their_order_and_are_never_merged(void **state)
{
    (void)state;
    static const struct range wanted[] = {{5, 6}, {0, 1}, {2, 3}, {0, 9}, {9, 9}};
    struct range_set set = {0};
    assert_int_equal(range_parse(slice_of("bytes=5-6, 0-1,2-3 ,0-,-1"), 10, &set),
                     RANGE_SATISFIABLE);
    assert_int_equal(set.count, COUNT(wanted));
    assert_memory_equal(set.ranges, wanted, sizeof(wanted));
    assert_int_equal(range_set_bytes(&set), 2 + 2 + 2 + 10 + 1);
    range_set_fini(&set);
    assert_null(set.ranges);
    assert_int_equal(set.count, 0);
}

static void unsatisfiable_members_are_left_out(void **state)
{
    (void)state;
    assert_one("bytes=20-30,1-2,-0", 10, 1, 2);
}

static void as_many_ranges_as_clients_send_are_taken_and_no_more(void **state)
{
    (void)state;
    autostr struct str header = {0};
    str_add(&header, "bytes=0-0");
    for (unsigned i = 1; i < RANGE_MAX_COUNT; i++)
        str_format(&header, ",%u-%u", 2 * i, 2 * i);
    struct range_set set = {0};
    assert_int_equal(range_parse(slice_of(str_text(&header)), 4096, &set), RANGE_SATISFIABLE);
    assert_int_equal(set.count, RANGE_MAX_COUNT);
    assert_int_equal(set.ranges[1023].first, 2046);
    range_set_fini(&set);
    str_add(&header, ",3000-3000");
    assert_int_equal(result_of(str_text(&header), 4096), RANGE_IGNORE);
}

static void the_sum_of_lengths_saturates(void **state)
{
    (void)state;
    struct range all[] = {{0, UINT64_MAX - 1}, {0, 0}, {0, 0}};
    assert_int_equal(range_set_bytes(&(struct range_set){0, NULL}), 0);
    assert_true(range_set_bytes(&(struct range_set){1, all}) == UINT64_MAX);
    assert_true(range_set_bytes(&(struct range_set){3, all}) == UINT64_MAX);
    all[0].last = UINT64_MAX;
    assert_true(range_set_bytes(&(struct range_set){1, all}) == UINT64_MAX);
}

static void content_ranges_are_read(void **state)
{
    (void)state;
    struct content_range r;
    assert_true(range_parse_content(slice_of("bytes 5-9/10"), &r));
    assert_false(r.is_unsatisfied);
    assert_int_equal(r.first, 5);
    assert_int_equal(r.last, 9);
    assert_int_equal(r.total, 10);
    assert_true(range_parse_content(slice_of(" Bytes 0-0/* "), &r));
    assert_int_equal(r.last, 0);
    assert_true(r.total == UINT64_MAX);
    assert_true(range_parse_content(slice_of("bytes */10"), &r));
    assert_true(r.is_unsatisfied);
    assert_int_equal(r.total, 10);
}

static void malformed_content_ranges_are_refused_and_the_result_untouched(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "bytes",
        "bytes 5-9",
        "bytes=5-9/10",
        "bytes 9-5/10",
        "bytes 5-10/10",
        "bytes 0-0/0",
        "bytes */*",
        "bytes -5/10",
        "bytes 5-/10",
        "bytes a-b/c",
        "items 5-9/10",
        "bytes 5-9/",
        "bytes /10",
        "bytes 5-9/10/11",
        "bytes 0-18446744073709551616/*",
        "bytes 0-1/18446744073709551615",
        "bytes 5 - 9/10",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct content_range r = {true, 1, 2, 3};
        if (range_parse_content(slice_of(bad[i]), &r))
            fail_msg("\"%s\" is taken", bad[i]);
        assert_true(r.is_unsatisfied && r.first == 1 && r.last == 2 && r.total == 3);
    }
}

static void only_the_same_strong_tag_lets_a_range_stand(void **state)
{
    (void)state;
    assert_true(range_if_range(slice_of(NULL), "\"sha256:a\""));
    assert_true(range_if_range(slice_of(""), "\"sha256:a\""));
    assert_true(range_if_range(slice_of(" \"sha256:a\" "), "\"sha256:a\""));
    assert_false(range_if_range(slice_of("W/\"sha256:a\""), "\"sha256:a\""));
    assert_false(range_if_range(slice_of("\"sha256:b\""), "\"sha256:a\""));
    assert_false(range_if_range(slice_of("sha256:a"), "\"sha256:a\""));
    assert_false(range_if_range(slice_of("Tue, 24 Nov 2026 00:00:00 GMT"), "\"sha256:a\""));
}

static void a_digest_is_named_however_it_is_written(void **state)
{
    (void)state;
    static const char *const matching[] = {
        "\"sha256:a\"",        "sha256:a",     "W/\"sha256:a\"", "*", " * ",
        "\"x\", \"sha256:a\"", "x,sha256:a,y", ",,sha256:a",
    };
    static const char *const other[] = {
        "",          "\"\"",  "\"sha256:b\"", "sha256:", "\"sha256:a", "\"x\",\"y\"",
        "sha256:aa", "\"*\"", "SHA256:a",     ",",       "W/"};
    for (size_t i = 0; i < COUNT(matching); i++)
        if (!range_none_match(slice_of(matching[i]), "sha256:a"))
            fail_msg("%s does not match", matching[i]);
    for (size_t i = 0; i < COUNT(other); i++)
        if (range_none_match(slice_of(other[i]), "sha256:a"))
            fail_msg("%s matches", other[i]);
    assert_false(range_none_match(slice_of(NULL), "sha256:a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_range_is_inclusive_and_clamped_to_the_size),
        cmocka_unit_test(an_open_range_reaches_to_the_end),
        cmocka_unit_test(a_suffix_is_the_last_bytes),
        cmocka_unit_test(the_unit_may_be_of_any_case_and_blanks_surround_members),
        cmocka_unit_test(what_begins_past_the_end_is_unsatisfiable),
        cmocka_unit_test(malformed_headers_mean_nothing),
        cmocka_unit_test(several_ranges_keep_their_order_and_are_never_merged),
        cmocka_unit_test(unsatisfiable_members_are_left_out),
        cmocka_unit_test(as_many_ranges_as_clients_send_are_taken_and_no_more),
        cmocka_unit_test(the_sum_of_lengths_saturates),
        cmocka_unit_test(content_ranges_are_read),
        cmocka_unit_test(malformed_content_ranges_are_refused_and_the_result_untouched),
        cmocka_unit_test(only_the_same_strong_tag_lets_a_range_stand),
        cmocka_unit_test(a_digest_is_named_however_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
