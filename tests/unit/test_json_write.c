/* SPDX-License-Identifier: Apache-2.0
 * json_write: what is written piece by piece parses as one document. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/json_write.h"
#include "base/str.h"

static void commas_stand_between_and_nowhere_else(void **state)
{
    (void)state;
    autostr struct str out = {0};
    json_write_open(&out, NULL, '{');
    json_write_open(&out, "none", '[');
    json_write_close(&out, ']');
    json_write_open(&out, "two", '[');
    json_write_number(&out, NULL, -1);
    json_write_open(&out, NULL, '{');
    json_write_bool(&out, "is", true);
    json_write_close(&out, '}');
    json_write_close(&out, ']');
    json_write_ratio(&out, "ratio", 0.5);
    json_write_close(&out, '}');
    assert_string_equal(str_text(&out),
                        "{\"none\":[],\"two\":[-1,{\"is\":true}],\"ratio\":0.5000}");
}

static void texts_are_escaped_and_what_is_not_known_is_null(void **state)
{
    (void)state;
    autostr struct str out = {0};
    json_write_open(&out, NULL, '{');
    json_write_text(&out, "a \"b\"", "[\n{");
    json_write_text(&out, "c", NULL);
    json_write_known(&out, "d", 7, true);
    json_write_known(&out, "e", 7, false);
    json_write_close(&out, '}');
    autojson struct json_t *read = json_parse(str_text(&out), out.length, NULL);
    int64_t number = 0;
    assert_non_null(read);
    assert_string_equal(json_get_string(read, "a \"b\""), "[\n{");
    assert_true(json_get_integer(read, "d", &number));
    assert_int_equal(number, 7);
    assert_null(json_get(read, "c"));
    assert_null(json_get(read, "e"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_stand_between_and_nowhere_else),
        cmocka_unit_test(texts_are_escaped_and_what_is_not_known_is_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
