/* SPDX-License-Identifier: Apache-2.0
 * str: slices never reach outside themselves, parsers refuse what is not wholly theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/str.h"

static void assert_slice(struct slice s, const char *text)
{
    if (!slice_equals(s, text))
        fail_msg("\"%.*s\" is not \"%s\"", (int)s.length, s.at ? s.at : "", text);
}

static void a_slice_of_null_is_empty_and_harmless(void **state)
{
    (void)state;
    struct slice s = slice_of(NULL), head = s, tail = s;
    char out[4] = "xyz";
    uint64_t number = 7;
    assert_int_equal(s.length, 0);
    assert_slice(s, "");
    assert_slice(slice_trim(s), "");
    assert_slice(slice_sub(s, 3, 3), "");
    assert_false(slice_cut(s, '/', &head, &tail));
    assert_false(slice_cut_last(s, '/', &head, &tail));
    assert_false(slice_u64(s, 10, &number));
    assert_true(slice_equals_nocase(s, ""));
    assert_true(slice_copy(s, out, sizeof(out)));
    assert_string_equal(out, "");
    autofree char *copy = slice_dup(s);
    assert_string_equal(copy, "");
}

static void a_part_is_clamped_to_the_whole(void **state)
{
    (void)state;
    struct slice s = slice_of("abcdef");
    assert_slice(slice_sub(s, 1, 3), "bcd");
    assert_slice(slice_sub(s, 4, 100), "ef");
    assert_slice(slice_sub(s, 6, 1), "");
    assert_slice(slice_sub(s, SIZE_MAX, SIZE_MAX), "");
    assert_slice(slice_sub(s, 2, SIZE_MAX), "cdef");
}

static void comparing_takes_all_bytes_into_account(void **state)
{
    (void)state;
    struct slice s = slice_of("Docker");
    assert_true(slice_equals(s, "Docker"));
    assert_false(slice_equals(s, "Docke"));
    assert_false(slice_equals(s, "Dockers"));
    assert_false(slice_equals(s, "docker"));
    assert_true(slice_equals_nocase(s, "dOCKER"));
    assert_false(slice_equals_nocase(s, "docke"));
    assert_false(slice_equals_nocase(s, "dockers"));
    assert_false(slice_equals_nocase(slice_of("a["), "A{"));
    struct slice inner = {"a\0b", 3};
    assert_false(slice_equals(inner, "a"));
    assert_false(slice_equals_nocase(inner, "a"));
}

static void starts_and_ends_look_at_the_right_end(void **state)
{
    (void)state;
    struct slice s = slice_of("/v2/x/tags/list");
    assert_true(slice_starts(s, "/v2/"));
    assert_false(slice_starts(s, "/v3/"));
    assert_false(slice_starts(slice_of("/v"), "/v2/"));
    assert_true(slice_ends(s, "/tags/list"));
    assert_false(slice_ends(s, "/tags"));
    assert_false(slice_ends(slice_of("list"), "/list"));
    assert_true(slice_starts(s, "") && slice_ends(s, ""));
}

static void trimming_takes_spaces_and_tabs_only(void **state)
{
    (void)state;
    assert_slice(slice_trim(slice_of(" \t a b\t ")), "a b");
    assert_slice(slice_trim(slice_of(" \t ")), "");
    assert_slice(slice_trim(slice_of("\na\n")), "\na\n");
}

static void cutting_splits_at_the_first_or_the_last(void **state)
{
    (void)state;
    struct slice head, tail;
    assert_true(slice_cut(slice_of("a:b:c"), ':', &head, &tail));
    assert_slice(head, "a");
    assert_slice(tail, "b:c");
    assert_true(slice_cut_last(slice_of("a:b:c"), ':', &head, &tail));
    assert_slice(head, "a:b");
    assert_slice(tail, "c");
    assert_true(slice_cut(slice_of(":"), ':', &head, &tail));
    assert_slice(head, "");
    assert_slice(tail, "");
    head = tail = slice_of("kept");
    assert_false(slice_cut(slice_of("abc"), ':', &head, &tail));
    assert_false(slice_cut_last(slice_of("abc"), ':', &head, &tail));
    assert_slice(head, "kept");
    assert_slice(tail, "kept");
}

static void a_slice_may_be_cut_into_itself(void **state)
{
    (void)state;
    struct slice rest = slice_of("a,b,c"), word;
    assert_true(slice_cut(rest, ',', &word, &rest));
    assert_slice(word, "a");
    assert_true(slice_cut(rest, ',', &word, &rest));
    assert_slice(word, "b");
    assert_slice(rest, "c");
}

static void numbers_are_digits_only_and_within_bounds(void **state)
{
    (void)state;
    uint64_t value = 7;
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "0x1",
                                      "1.0",
                                      "١",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(slice_u64(slice_of(bad[i]), UINT64_MAX, &value));
    assert_false(slice_u64(slice_of("101"), 100, &value));
    assert_true(value == 7);
    assert_true(slice_u64(slice_of("100"), 100, &value) && value == 100);
    assert_true(slice_u64(slice_of("18446744073709551615"), UINT64_MAX, &value) &&
                value == UINT64_MAX);
    assert_true(slice_u64(slice_of("000"), 0, &value) && value == 0);
}

static void copying_needs_room_for_the_zero(void **state)
{
    (void)state;
    char out[4] = "xyz";
    assert_false(slice_copy(slice_of("abcd"), out, sizeof(out)));
    assert_string_equal(out, "xyz");
    assert_false(slice_copy(slice_of(""), out, 0));
    assert_true(slice_copy(slice_of("abc"), out, sizeof(out)));
    assert_string_equal(out, "abc");
    autofree char *copy = slice_dup(slice_sub(slice_of("hello"), 1, 3));
    assert_string_equal(copy, "ell");
}

static void utf8_characters_are_measured_and_bad_ones_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
    } cases[] = {
        {"a", 1},
        {"é", 2},
        {"€", 3},
        {"😀", 4},
        {"\xc2\x80", 2},
        {"\xed\x9f\xbf", 3},
        {"\xee\x80\x80", 3},
        {"\xf4\x8f\xbf\xbf", 4},
        {"", 0},
        {"\x80", 0},
        {"\xc0\xaf", 0},
        {"\xc1\xbf", 0},
        {"\xc3", 0},
        {"\xc3(", 0},
        {"\xe2\x82", 0},
        {"\xe0\x80\xaf", 0},
        {"\xed\xa0\x80", 0},
        {"\xe2\x82(", 0},
        {"\xf0\x80\x80\x80", 0},
        {"\xf0\x9f\x98", 0},
        {"\xf4\x90\x80\x80", 0},
        {"\xf5\x80\x80\x80", 0},
        {"\xff", 0},
        {"\xf0\x9f(\x80", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(slice_utf8(slice_of(cases[i].bytes)), cases[i].length);
}

static void a_string_grows_and_stays_terminated(void **state)
{
    (void)state;
    autostr struct str s = {0};
    assert_string_equal(str_text(&s), "");
    str_add(&s, "");
    str_add_bytes(&s, NULL, 0);
    assert_string_equal(str_text(&s), "");
    for (int i = 0; i < 1000; i++) {
        str_add_char(&s, (char)('a' + i % 26));
        assert_int_equal(strlen(str_text(&s)), (size_t)i + 1);
    }
    assert_int_equal(s.length, 1000);
    assert_memory_equal(s.text + 988, "abcdefghijkl", 12);
    str_clear(&s);
    assert_string_equal(str_text(&s), "");
    assert_true(s.room >= 1000);
    str_add_bytes(&s, "a\0b", 3);
    assert_int_equal(s.length, 3);
    assert_memory_equal(s.text, "a\0b", 4);
}

static void formatting_appends_however_long_it_gets(void **state)
{
    (void)state;
    autostr struct str s = {0};
    str_format(&s, "%s", "");
    assert_string_equal(str_text(&s), "");
    for (int width = 60; width < 70; width++) {
        str_clear(&s);
        str_format(&s, "%0*d", width, 1);
        str_format(&s, "%0*d", 3 * width, 2);
        assert_int_equal(s.length, 4 * width);
        assert_int_equal(strlen(s.text), 4 * width);
        assert_true(s.text[width - 1] == '1' && s.text[4 * width - 1] == '2');
    }
}

static void taking_gives_the_text_away_and_never_null(void **state)
{
    (void)state;
    autostr struct str s = {0};
    autofree char *nothing = str_take(&s);
    assert_string_equal(nothing, "");
    str_add(&s, "mine");
    autofree char *mine = str_take(&s);
    assert_string_equal(mine, "mine");
    assert_null(s.text);
    assert_int_equal(s.length, 0);
    str_add(&s, "new");
    assert_string_equal(str_text(&s), "new");
    assert_string_equal(mine, "mine");
}

static void assert_json(struct slice value, const char *expected)
{
    autostr struct str s = {0};
    str_json(&s, value);
    assert_string_equal(str_text(&s), expected);
}

static void json_strings_are_escaped(void **state)
{
    (void)state;
    assert_json(slice_of(""), "\"\"");
    assert_json(slice_of(NULL), "\"\"");
    assert_json(slice_of("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
    assert_json(slice_of("\b\f\n\r\t\x01\x1f\x7f"), "\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\"");
    assert_json((struct slice){"a\0b", 3}, "\"a\\u0000b\"");
    assert_json(slice_of("é€😀"), "\"é€😀\"");
}

static void json_strings_are_valid_utf8_whatever_comes_in(void **state)
{
    (void)state;
    assert_json(slice_of("a\xff"
                         "b"),
                "\"a\xEF\xBF\xBD"
                "b\"");
    assert_json(slice_of("\xc3"), "\"\xEF\xBF\xBD\"");
    assert_json(slice_of("\xed\xa0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
    assert_json(slice_of("\xc3\"x"), "\"\xEF\xBF\xBD\\\"x\"");
    assert_json(slice_sub(slice_of("€"), 0, 2), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static void distance_counts_insert_delete_replace_and_swap(void **state)
{
    (void)state;
    assert_int_equal(str_distance("", ""), 0);
    assert_int_equal(str_distance("", "abc"), 3);
    assert_int_equal(str_distance("abc", ""), 3);
    assert_int_equal(str_distance("serve", "serve"), 0);
    assert_int_equal(str_distance("serve", "serv"), 1);
    assert_int_equal(str_distance("serve", "sserve"), 1);
    assert_int_equal(str_distance("serve", "serbe"), 1);
    assert_int_equal(str_distance("serve", "sevre"), 1);
    assert_int_equal(str_distance("kitten", "sitting"), 3);
    assert_int_equal(str_distance("ca", "abc"), 3);
}

static void the_nearest_word_is_within_three_edits(void **state)
{
    (void)state;
    static const char *const words[] = {"serve", "status", "export", "evict", NULL};
    static const char *const none[] = {NULL};
    assert_string_equal(str_nearest("sevre", words), "serve");
    assert_string_equal(str_nearest("expotr", words), "export");
    assert_string_equal(str_nearest("evi", words), "evict");
    assert_null(str_nearest("bananas", words));
    assert_null(str_nearest("serve", none));
}

static void sizes_know_decimal_and_binary_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"4096", 4096},
        {"5B", 5},
        {"5b", 5},
        {"1K", 1024},
        {"1KB", 1000},
        {"1kib", 1024},
        {"10GiB", 10ULL << 30},
        {"10GB", 10000000000},
        {"10g", 10ULL << 30},
        {"500MB", 500000000},
        {"2T", 2ULL << 40},
        {"2TB", 2000000000000},
        {"2TiB", 2ULL << 40},
        {"3M", 3ULL << 20},
        {"18446744073709551615", UINT64_MAX},
        {"16777215TiB", 16777215ULL << 40},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t bytes = 7;
        if (!str_parse_size(good[i].text, &bytes) || bytes != good[i].bytes)
            fail_msg("%s gives %llu", good[i].text, (unsigned long long)bytes);
    }
}

static void what_is_no_size_is_refused_and_the_result_untouched(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",       "B",     "GiB", "-1",        "+1",
        "1.5GiB", "1 GiB", " 1",  "1GiB ",     "1iB",
        "1Gi",    "1GiBB", "1X",  "1PB",       "1Kb b",
        "1bb",    "0x10",  "1e3", "16777216T", "18446744073709551616",
        "1G1",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t bytes = 7;
        if (str_parse_size(bad[i], &bytes) || bytes != 7)
            fail_msg("%s is taken for %llu", bad[i], (unsigned long long)bytes);
    }
}

static void durations_need_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"250ms", 250},
                {"90s", 90000},
                {"15m", 900000},
                {"12h", 43200000},
                {"30d", 2592000000},
                {"0s", 0},
                {"9223372036854775807ms", INT64_MAX}};
    static const char *const bad[] = {
        "",   "90", "s",    "-1s", "1.5s",          "1 s",
        "1S", "1w", "1mss", "1sm", "106751991168d", "9223372036854775808ms"};
    int64_t ms = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (str_parse_duration(bad[i], &ms) || ms != 7)
            fail_msg("%s is taken for a duration", bad[i]);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!str_parse_duration(good[i].text, &ms) || ms != good[i].ms)
            fail_msg("%s gives %lld", good[i].text, (long long)ms);
}

static void percent_escapes_are_decoded_once(void **state)
{
    (void)state;
    char out[32];
    assert_true(str_percent_decode(slice_of("a%2Fb%2fc%2525+%C3%a9"), out, sizeof(out)));
    assert_string_equal(out, "a/b/c%25+é");
    assert_true(str_percent_decode(slice_of(""), out, 1));
    assert_string_equal(out, "");
}

static void bad_escapes_and_escaped_zeros_are_refused(void **state)
{
    (void)state;
    char out[32];
    static const char *const bad[] = {"%",   "%2",    "a%",   "a%g0", "%0g",
                                      "%00", "a%00b", "%%41", "%-1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(str_percent_decode(slice_of(bad[i]), out, sizeof(out)));
    assert_false(str_percent_decode(slice_sub(slice_of("%41"), 0, 2), out, sizeof(out)));
}

static void decoding_needs_room_for_the_zero(void **state)
{
    (void)state;
    char out[4];
    assert_true(str_percent_decode(slice_of("%61bc"), out, 4));
    assert_false(str_percent_decode(slice_of("%61bcd"), out, 4));
    assert_false(str_percent_decode(slice_of(""), out, 0));
}

static void encoding_keeps_unreserved_characters_and_what_it_is_told(void **state)
{
    (void)state;
    autostr struct str s = {0};
    str_percent_encode(&s, slice_of("aZ0-._~/ :é%"), "/:");
    assert_string_equal(str_text(&s), "aZ0-._~/%20:%C3%A9%25");
    str_clear(&s);
    str_percent_encode(&s, (struct slice){"/\0", 2}, NULL);
    assert_string_equal(str_text(&s), "%2F%00");
}

static void encoding_and_decoding_are_inverse_for_every_byte(void **state)
{
    (void)state;
    char bytes[256], out[256];
    for (int i = 1; i < 256; i++)
        bytes[i - 1] = (char)i;
    autostr struct str s = {0};
    str_percent_encode(&s, (struct slice){bytes, 255}, NULL);
    assert_true(str_percent_decode(slice_of(str_text(&s)), out, sizeof(out)));
    assert_memory_equal(out, bytes, 255);
}

static void base64_is_decoded_and_nothing_else(void **state)
{
    static const struct {
        const char *text, *meant;
    } good[] = {{"", ""},
                {"Zg==", "f"},
                {"Zm8=", "fo"},
                {"Zm9v", "foo"},
                {"Zm9vYg==", "foob"},
                {"bWU6c2VjcmV0OjE=", "me:secret:1"},
                {"+/+/", "\xFB\xFF\xBF"}};
    static const char *const bad[] = {"Z",    "Zg",   "Zg=",    "Z===", "====", "Zg==Zg==",
                                      "Zm9-", "Zm 9", "Zm9v\n", "Zh==", "Zm9=", "dXNlcjpyaWdodE=="};
    char out[12];
    size_t length;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(str_base64_decode(slice_of(good[i].text), out, sizeof out, &length));
        assert_string_equal(out, good[i].meant);
        assert_int_equal(length, strlen(good[i].meant));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (str_base64_decode(slice_of(bad[i]), out, sizeof out, &length))
            fail_msg("\"%s\" passed", bad[i]);
    assert_false(str_base64_decode(slice_of("Zm9vYg=="), out, 4, &length));
    assert_true(str_base64_decode(slice_of("Zm9vYg=="), out, 5, &length));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slice_of_null_is_empty_and_harmless),
        cmocka_unit_test(a_part_is_clamped_to_the_whole),
        cmocka_unit_test(comparing_takes_all_bytes_into_account),
        cmocka_unit_test(starts_and_ends_look_at_the_right_end),
        cmocka_unit_test(trimming_takes_spaces_and_tabs_only),
        cmocka_unit_test(cutting_splits_at_the_first_or_the_last),
        cmocka_unit_test(a_slice_may_be_cut_into_itself),
        cmocka_unit_test(numbers_are_digits_only_and_within_bounds),
        cmocka_unit_test(copying_needs_room_for_the_zero),
        cmocka_unit_test(utf8_characters_are_measured_and_bad_ones_refused),
        cmocka_unit_test(a_string_grows_and_stays_terminated),
        cmocka_unit_test(formatting_appends_however_long_it_gets),
        cmocka_unit_test(taking_gives_the_text_away_and_never_null),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(json_strings_are_valid_utf8_whatever_comes_in),
        cmocka_unit_test(distance_counts_insert_delete_replace_and_swap),
        cmocka_unit_test(the_nearest_word_is_within_three_edits),
        cmocka_unit_test(sizes_know_decimal_and_binary_units),
        cmocka_unit_test(what_is_no_size_is_refused_and_the_result_untouched),
        cmocka_unit_test(durations_need_a_unit),
        cmocka_unit_test(percent_escapes_are_decoded_once),
        cmocka_unit_test(bad_escapes_and_escaped_zeros_are_refused),
        cmocka_unit_test(decoding_needs_room_for_the_zero),
        cmocka_unit_test(encoding_keeps_unreserved_characters_and_what_it_is_told),
        cmocka_unit_test(base64_is_decoded_and_nothing_else),
        cmocka_unit_test(encoding_and_decoding_are_inverse_for_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
