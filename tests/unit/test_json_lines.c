/* SPDX-License-Identifier: Apache-2.0
 * json_lines: each key and item is found on its line, under its path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/json.h"
#include "base/json_lines.h"
#include "base/str.h"

static const char text[] = "\n{\"a\": 1,\n"
                           " \"b.io\": {\"deep\":\n"
                           "   [1, \"x,]}\\\"\n\", {\n"
                           "  \"k\\u0065y\": null}]},\r\n"
                           " \"b.io\"\n"
                           " : true, \"odd \\n key\": [[\n"
                           "2]]}\n";

static void assert_path(const struct json_lines *l, unsigned node, const char *path)
{
    autostr struct str found = {0};
    json_lines_path(l, node, &found);
    assert_string_equal(str_text(&found), path);
}

static void keys_and_items_have_their_line_and_path(void **state)
{
    (void)state;
    autojsonlines struct json_lines *l = json_lines_new(text, sizeof text - 1);
    assert_int_equal(json_lines_at(l, 0), 2);
    assert_int_equal(json_lines_at(l, json_lines_key(l, 0, "a")), 2);
    unsigned odd = json_lines_key(l, 0, "odd \n key");
    assert_int_equal(json_lines_at(l, odd), 7);
    unsigned inner = json_lines_item(l, json_lines_item(l, odd, 0), 0);
    assert_int_equal(json_lines_at(l, inner), 8);
    assert_path(l, inner, "\"odd \\n key\"[0][0]");
    assert_path(l, 0, "");
}

static void strings_that_look_like_structure_are_passed_over(void **state)
{
    static const char one[] = "{\"b\": [1, \"x,]}\\\"\", {\n\"k\\u0065y\": null}], \"c\": 2}";
    (void)state;
    autojsonlines struct json_lines *l = json_lines_new(one, sizeof one - 1);
    unsigned key = json_lines_key(l, json_lines_item(l, json_lines_key(l, 0, "b"), 2), "key");
    assert_int_equal(json_lines_at(l, key), 2);
    assert_path(l, key, "b[2].key");
    assert_path(l, json_lines_key(l, 0, "c"), "c");
}

static void what_is_not_there_is_told_of_its_object(void **state)
{
    (void)state;
    autojsonlines struct json_lines *l = json_lines_new(text, sizeof text - 1);
    unsigned a = json_lines_key(l, 0, "a");
    assert_int_equal(json_lines_key(l, 0, "z"), 0);
    assert_int_equal(json_lines_key(l, a, "z"), a);
    assert_int_equal(json_lines_item(l, a, 3), a);
}

static void a_repeated_key_is_found_and_the_last_one_counts(void **state)
{
    (void)state;
    autojsonlines struct json_lines *l = json_lines_new(text, sizeof text - 1);
    unsigned again = json_lines_duplicate(l, 0);
    assert_int_equal(json_lines_at(l, again), 6);
    assert_path(l, again, "b.io");
    assert_int_equal(json_lines_key(l, 0, "b.io"), again);
    assert_int_equal(json_lines_duplicate(l, again), 0);
}

static void equal_keys_of_different_objects_are_no_duplicates(void **state)
{
    static const char two[] = "{\"a\":{\"k\":1},\"b\":{\"k\":[{\"k\":1},{\"k\":2}]}}";
    (void)state;
    autojsonlines struct json_lines *l = json_lines_new(two, sizeof two - 1);
    assert_int_equal(json_lines_duplicate(l, 0), 0);
}

static void long_keys_are_cut_in_paths(void **state)
{
    char longer[300] = "{\"";
    (void)state;
    memset(longer + 2, 'k', 200);
    memcpy(longer + 202, "\":1}", 5);
    autojsonlines struct json_lines *l = json_lines_new(longer, strlen(longer));
    autostr struct str path = {0};
    json_lines_path(l, 1, &path);
    assert_int_equal(path.length, 83);
}

static void a_text_that_is_no_json_is_survived(void **state)
{
    static const char *const texts[] = {
        "", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "[1,", "[\\", "{]}[", "{\"a\\", "{a:1}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        autojsonlines struct json_lines *l = json_lines_new(texts[i], strlen(texts[i]));
        assert_int_equal(json_lines_at(l, 0), 1);
    }
    json_lines_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_items_have_their_line_and_path),
        cmocka_unit_test(strings_that_look_like_structure_are_passed_over),
        cmocka_unit_test(what_is_not_there_is_told_of_its_object),
        cmocka_unit_test(a_repeated_key_is_found_and_the_last_one_counts),
        cmocka_unit_test(equal_keys_of_different_objects_are_no_duplicates),
        cmocka_unit_test(long_keys_are_cut_in_paths),
        cmocka_unit_test(a_text_that_is_no_json_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
