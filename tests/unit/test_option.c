/* SPDX-License-Identifier: Apache-2.0
 * option: a row is all it takes; what is refused changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "app/option.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

struct door {
    char **names, *color, *certificate;
    int64_t open_ms, width, room_bytes;
    struct option_mark mark;
};

#define AT(field) offsetof(struct door, field), offsetof(struct door, mark)
static const struct option rows[] = {
    {"names", OPTION_LIST, AT(names), "a", 0, 0, "HOST", "s"},
    {"color", OPTION_CHOICE, AT(color), "red", 0, 0, "red|green", "s"},
    {"open-for", OPTION_DURATION, AT(open_ms), "", 0, 60000, "DURATION", "s"},
    {"width", OPTION_NUMBER, AT(width), "3", 1, 10, "N", "s"},
    {"room", OPTION_SIZE, AT(room_bytes), "1KiB", 1, 4096, "SIZE", "s"},
    {"tls.certificate-file", OPTION_TEXT, AT(certificate), "", 0, 0, "FILE", "s"},
};
static const struct option_table table = {rows, sizeof rows / sizeof *rows};

static int fresh(void **state)
{
    static struct door door;
    memset(&door, 0, sizeof door);
    option_init(&table, &door);
    *state = &door;
    return 0;
}

static int over(void **state)
{
    option_fini(&table, *state);
    return 0;
}

static int set(struct door *d, const char *key, const char *json, struct error *e)
{
    long item;
    autojson struct json_t *list = json_parse(json, strlen(json), e);
    assert_non_null(list);
    return option_set_json(option_find_key(&table, key), d, json_item(list, 0), &item, e);
}

static void defaults_are_those_of_the_rows(void **state)
{
    const struct door *d = *state;
    assert_string_equal(d->names[0], "a");
    assert_null(d->names[1]);
    assert_string_equal(d->color, "red");
    assert_int_equal(d->open_ms, -1);
    assert_int_equal(d->width, 3);
    assert_int_equal(d->room_bytes, 1024);
    assert_string_equal(d->certificate, "");
}

static void a_row_of_a_group_is_a_hyphen_and_a_key_inside_a_key(void **state)
{
    (void)state;
    assert_ptr_equal(option_find(&table, "tls-certificate-file"), &rows[5]);
    assert_ptr_equal(option_find_key(&table, "tls.certificate_file"), &rows[5]);
    assert_true(option_has_group(&table, "tls"));
    assert_false(option_has_group(&table, "tl"));
    assert_false(option_has_group(&table, "open_for"));
    assert_null(option_find_key(&table, "open-for"));
}

static void values_of_a_file_are_taken_by_their_type(void **state)
{
    struct door *d = *state;
    struct error e = {0};
    assert_int_equal(set(d, "names", "[[\"b.io\",\"c:5\"]]", &e), 0);
    assert_string_equal(d->names[1], "c:5");
    assert_int_equal(set(d, "color", "[\"green\"]", &e), 0);
    assert_int_equal(set(d, "open_for", "[\"2s\"]", &e), 0);
    assert_int_equal(d->open_ms, 2000);
    assert_int_equal(set(d, "width", "[10]", &e), 0);
    assert_int_equal(set(d, "room", "[\"2KiB\"]", &e), 0);
    assert_int_equal(d->room_bytes, 2048);
    assert_int_equal(set(d, "room", "[4096]", &e), 0);
    assert_int_equal(d->room_bytes, 4096);
}

static void what_is_refused_changes_nothing(void **state)
{
    static const char *const wrong[][3] = {{"names", "[\"b\"]", "list"},
                                           {"names", "[[\"b\", 1]]", "text"},
                                           {"names", "[[\"b\", \"c d\"]]", "c d"},
                                           {"names", "[[]]", "empty"},
                                           {"color", "[\"blue\"]", "red, green"},
                                           {"color", "[\"\"]", "none of"},
                                           {"color", "[{}]", "red|green"},
                                           {"open_for", "[5]", "duration"},
                                           {"open_for", "[\"61s\"]", "bounds"},
                                           {"open_for", "[\"soon\"]", "soon"},
                                           {"width", "[\"3\"]", "number"},
                                           {"width", "[3.5]", "number"},
                                           {"width", "[0]", "bounds"},
                                           {"width", "[-1]", "bounds"},
                                           {"width", "[11]", "bounds"},
                                           {"room", "[true]", "size"},
                                           {"room", "[4097]", "bounds"},
                                           {"tls.certificate_file", "[null]", "text"},
                                           {"tls.certificate_file", "[\"a\\u0000b\"]", "text"}};
    struct door *d = *state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct error e = {0};
        if (set(d, wrong[i][0], wrong[i][1], &e) == 0 || !strstr(e.text, wrong[i][2]))
            fail_msg("%s %s: %s", wrong[i][0], wrong[i][1], e.text);
        defaults_are_those_of_the_rows(state);
    }
}

static void the_first_of_a_list_takes_the_place_of_the_default(void **state)
{
    struct door *d = *state;
    struct error e = {0};
    assert_int_equal(option_set(&rows[0], d, "x", true, &e), 0);
    assert_int_equal(option_set(&rows[0], d, "y", false, &e), 0);
    assert_string_equal(d->names[0], "x");
    assert_string_equal(d->names[1], "y");
    assert_null(d->names[2]);
}

static void the_nearest_name_is_told_as_it_is_written_there(void **state)
{
    char near[64];
    (void)state;
    assert_true(option_nearest(&table, "open-fro", false, near, sizeof near));
    assert_string_equal(near, "open-for");
    assert_true(option_nearest(&table, "openfor", true, near, sizeof near));
    assert_string_equal(near, "open_for");
    assert_false(option_nearest(&table, "handles-of-brass", false, near, sizeof near));
}

static void texts_are_checked_by_their_metavar(void **state)
{
    static const struct {
        const char *metavar, *good, *bad;
    } cases[] = {{"URL", "https://a.b:5/c", "a.b"},
                 {"URL", "http://[::1]:5000", "ftp://a"},
                 {"URL", "http://h/p/", "http://h/?q"},
                 {"URL", "http://h", "http://"},
                 {"PROXY", "socks5h://10.1.1.1:1080", "socks9://10.1.1.1:1080"},
                 {"PROXY", "http://proxy:3128", "http://u:p@proxy:3128"},
                 {"GLOB", "library/*", ""},
                 {"GLOB", "[0-9]*.[!a]", "[0-9"},
                 {"GLOB", "[]a]", "[]"},
                 {"GLOB", "[!]a]", "[!]"},
                 {"GLOB", "a\\[b", "a\\"},
                 {"GLOB", "?", "a b"},
                 {"HOST", "hub.mirror.lan", "hub/mirror"},
                 {"REGISTRY", "localhost:5000", "http://x"},
                 {"ADDR:PORT", ":5000", "5000"},
                 {"ADDR:PORT", "[::1]:0", "h:65536"},
                 {"NETWORK", "10.0.0.0/8", "10.0.0.0/33"},
                 {"NETWORK", "fd00::/8", "10.0.0/8"},
                 {"NETWORK", "::1", "::1/129"},
                 {"NETWORK", "127.0.0.1", ""},
                 {"HELPER", "ecr-login", "../bin/sh"},
                 {"FILE", "/a b", ""},
                 {"NAME", "anything @ all", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e = {0};
        if (option_check(cases[i].metavar, cases[i].good, &e) < 0)
            fail_msg("%s: %s", cases[i].good, e.text);
        if (cases[i].bad && option_check(cases[i].metavar, cases[i].bad, &e) == 0)
            fail_msg("%s was taken for a %s", cases[i].bad, cases[i].metavar);
    }
}

static void a_password_in_a_url_is_not_repeated(void **state)
{
    struct error e = {0};
    (void)state;
    assert_int_equal(option_check("URL", "https://me:hunter2@h/", &e), -1);
    assert_null(strstr(e.text, "hunter2"));
    assert_int_equal(option_check("PROXY", "http://me:hunter2@h/", &e), -1);
    assert_null(strstr(e.text, "hunter2"));
}

static void sameness_is_of_values(void **state)
{
    struct door other = {0};
    struct error e = {0};
    option_init(&table, &other);
    for (size_t i = 0; i < table.count; i++)
        assert_true(option_is_same(&rows[i], *state, &other));
    static const char *const changed[] = {"b", "green", "1s", "4", "2KiB", "/f"};
    for (size_t i = 0; i < table.count; i++) {
        assert_int_equal(option_set(&rows[i], &other, changed[i], i > 0, &e), 0);
        assert_false(option_is_same(&rows[i], *state, &other));
    }
    option_fini(&table, &other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_are_those_of_the_rows, fresh, over),
        cmocka_unit_test(a_row_of_a_group_is_a_hyphen_and_a_key_inside_a_key),
        cmocka_unit_test_setup_teardown(values_of_a_file_are_taken_by_their_type, fresh, over),
        cmocka_unit_test_setup_teardown(what_is_refused_changes_nothing, fresh, over),
        cmocka_unit_test_setup_teardown(the_first_of_a_list_takes_the_place_of_the_default, fresh,
                                        over),
        cmocka_unit_test(the_nearest_name_is_told_as_it_is_written_there),
        cmocka_unit_test(texts_are_checked_by_their_metavar),
        cmocka_unit_test(a_password_in_a_url_is_not_repeated),
        cmocka_unit_test_setup_teardown(sameness_is_of_values, fresh, over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
