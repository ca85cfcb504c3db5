/* SPDX-License-Identifier: Apache-2.0
 * json: what strangers send is refused or read by type; nothing of another type slips through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

static struct json_t *parse(const char *text)
{
    struct error e = {0};
    struct json_t *document = json_parse(text, strlen(text), &e);
    if (!document)
        fail_msg("%s", e.text);
    return document;
}

static void assert_refused(const char *text, const char *part_of_reason)
{
    struct error e = {0};
    assert_null(json_parse(text, strlen(text), &e));
    assert_int_equal(e.kind, ERR_CORRUPT);
    if (!strstr(e.text, part_of_reason))
        fail_msg("\"%s\" is not in \"%s\"", part_of_reason, e.text);
}

static void values_are_read_by_their_type(void **state)
{
    (void)state;
    autojson struct json_t *d =
        parse("{\"s\":\"text\",\"i\":-9223372036854775808,\"o\":{\"k\":1},\"a\":[1,\"two\",null]}");
    int64_t number = 0;
    assert_true(json_is_object(d));
    assert_false(json_is_array(d));
    assert_string_equal(json_get_string(d, "s"), "text");
    assert_true(json_get_integer(d, "i", &number));
    assert_true(number == INT64_MIN);
    assert_true(json_is_object(json_get_object(d, "o")));
    struct json_t *a = json_get_array(d, "a");
    assert_true(json_is_array(a));
    assert_int_equal(json_count(a), 3);
    assert_string_equal(json_text(json_item(a, 1)), "two");
    assert_null(json_item(a, 3));
    assert_null(json_item(a, SIZE_MAX));
}

static void another_type_is_as_absent(void **state)
{
    (void)state;
    autojson struct json_t *d =
        parse("{\"s\":\"1\",\"i\":1,\"r\":1.0,\"o\":{},\"a\":[],\"n\":null}");
    static const char *const keys[] = {"s", "i", "r", "o", "a", "n", "none"};
    for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
        const char *key = keys[k];
        int64_t number = 77;
        assert_int_equal(json_get_string(d, key) != NULL, *key == 's');
        assert_int_equal(json_get_object(d, key) != NULL, *key == 'o');
        assert_int_equal(json_get_array(d, key) != NULL, *key == 'a');
        assert_int_equal(json_get(d, key) != NULL, *key != 'n');
        assert_int_equal(json_get_integer(d, key, &number), *key == 'i');
        assert_int_equal(number, *key == 'i' ? 1 : 77);
    }
}

static void null_and_scalars_may_be_asked_like_objects(void **state)
{
    (void)state;
    autojson struct json_t *d = parse("[1]");
    assert_null(json_get(NULL, "k"));
    assert_null(json_get_string(d, "k"));
    assert_null(json_get_object(json_item(d, 0), "k"));
    assert_int_equal(json_count(NULL), 0);
    assert_int_equal(json_count(json_item(d, 0)), 0);
    assert_null(json_text(NULL));
    assert_null(json_text(d));
    assert_false(json_is_object(NULL));
    assert_false(json_is_array(NULL));
    json_free(NULL);
}

static void a_string_with_an_inner_zero_is_absent_but_spoils_nothing(void **state)
{
    (void)state;
    autojson struct json_t *d = parse("{\"bad\":\"a\\u0000b\",\"good\":\"c\"}");
    assert_non_null(json_get(d, "bad"));
    assert_null(json_get_string(d, "bad"));
    assert_null(json_text(json_get(d, "bad")));
    assert_string_equal(json_get_string(d, "good"), "c");
}

static void malformed_documents_are_refused_with_their_place(void **state)
{
    (void)state;
    assert_refused("{\n  \"a\": oops}", "line 2 column ");
    assert_refused("", "line 1");
    assert_refused("{\"a\":1", "line 1");
    assert_refused("{} {}", "end of file");
    assert_refused("{}x", "end of file");
    assert_refused("\"scalar\"", "'['");
    assert_refused("12", "'['");
    assert_refused("{\"a\":\"\xff\"}", "decode byte");
    assert_refused("{\"a\":99999999999999999999}", "integer");
}

static void an_empty_body_may_be_a_null_pointer(void **state)
{
    (void)state;
    struct error e = {0};
    assert_null(json_parse(NULL, 0, &e));
    assert_int_equal(e.kind, ERR_CORRUPT);
}

static void bytes_beyond_the_length_are_not_read(void **state)
{
    (void)state;
    struct error e = {0};
    autojson struct json_t *d = json_parse("{}garbage", 2, &e);
    assert_non_null(d);
}

static void duplicate_keys_are_refused_at_any_depth(void **state)
{
    (void)state;
    assert_refused("{\"a\":1,\"a\":2}", "duplicate");
    assert_refused("{\"x\":[{\"a\":1,\"\\u0061\":2}]}", "duplicate");
}

/* `depth` nested arrays, with `inner` in the innermost. */
static void nest(struct str *s, size_t depth, const char *inner)
{
    str_clear(s);
    for (size_t i = 0; i < depth; i++)
        str_add_char(s, '[');
    str_add(s, inner);
    for (size_t i = 0; i < depth; i++)
        str_add_char(s, ']');
}

static void a_hundred_levels_are_read_and_one_more_is_not(void **state)
{
    (void)state;
    autostr struct str s = {0};
    nest(&s, 100, "\"[[{{\\\"[[\\\\\"");
    autojson struct json_t *d = parse(str_text(&s));
    assert_true(json_is_array(d));
    nest(&s, 101, "");
    assert_refused(str_text(&s), "deeper than 100");
    nest(&s, 100, "{}");
    assert_refused(str_text(&s), "deeper than 100");
    nest(&s, 100000, "");
    assert_refused(str_text(&s), "deeper than 100");
}

static void many_siblings_are_not_depth(void **state)
{
    (void)state;
    autostr struct str s = {0};
    str_add(&s, "[[]");
    for (int i = 0; i < 5000; i++)
        str_add(&s, ",{\"k\":[{}]}");
    str_add(&s, "]");
    autojson struct json_t *d = parse(str_text(&s));
    assert_int_equal(json_count(d), 5001);
}

struct visits {
    size_t limit;
    struct str seen;
};

static bool visit(const char *key, struct json_t *value, void *cls)
{
    struct visits *v = cls;
    str_format(&v->seen, "%s=", key);
    json_print(value, &v->seen);
    str_add_char(&v->seen, ';');
    return --v->limit > 0;
}

static void each_key_is_visited_in_order_until_told_to_stop(void **state)
{
    (void)state;
    autojson struct json_t *d = parse("{\"b\":1,\"a\":null,\"c\":[true]}");
    struct visits all = {.limit = 10}, two = {.limit = 2}, none = {.limit = 1};
    json_each(d, visit, &all);
    json_each(d, visit, &two);
    json_each(json_get(d, "c"), visit, &none);
    json_each(NULL, visit, &none);
    assert_string_equal(str_text(&all.seen), "b=1;a=null;c=[true];");
    assert_string_equal(str_text(&two.seen), "b=1;a=null;");
    assert_string_equal(str_text(&none.seen), "");
    str_fini(&all.seen);
    str_fini(&two.seen);
}

static void printing_is_compact_keeps_order_and_appends(void **state)
{
    (void)state;
    autojson struct json_t *d = parse(" { \"z\" : [ 1 , \"q\\\"\\n\" ] , \"a\" : { } } ");
    autostr struct str out = {0};
    str_add(&out, "=");
    json_print(d, &out);
    assert_string_equal(str_text(&out), "={\"z\":[1,\"q\\\"\\n\"],\"a\":{}}");
    str_clear(&out);
    json_print(json_item(json_get(d, "z"), 0), &out);
    assert_string_equal(str_text(&out), "1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read_by_their_type),
        cmocka_unit_test(another_type_is_as_absent),
        cmocka_unit_test(null_and_scalars_may_be_asked_like_objects),
        cmocka_unit_test(a_string_with_an_inner_zero_is_absent_but_spoils_nothing),
        cmocka_unit_test(malformed_documents_are_refused_with_their_place),
        cmocka_unit_test(an_empty_body_may_be_a_null_pointer),
        cmocka_unit_test(bytes_beyond_the_length_are_not_read),
        cmocka_unit_test(duplicate_keys_are_refused_at_any_depth),
        cmocka_unit_test(a_hundred_levels_are_read_and_one_more_is_not),
        cmocka_unit_test(many_siblings_are_not_depth),
        cmocka_unit_test(each_key_is_visited_in_order_until_told_to_stop),
        cmocka_unit_test(printing_is_compact_keeps_order_and_appends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
