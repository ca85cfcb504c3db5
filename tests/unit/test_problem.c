/* SPDX-License-Identifier: Apache-2.0
 * problem: what we print clients can read, and what upstreams print cannot hurt us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "oci/problem.h"

struct said {
    bool is_problem;
    char code[16], message[32];
};

static struct said said(const char *body)
{
    struct said s = {.code = "old", .message = "older"};
    s.is_problem =
        problem_read(body, strlen(body), s.code, sizeof(s.code), s.message, sizeof(s.message));
    return s;
}

static void an_error_prints_as_the_spec_wants_it(void **state)
{
    (void)state;
    struct error e = {0};
    autostr struct str out = {0};
    error_set(&e, ERR_BLOB_UNKNOWN, "no blob \"%s\"", "x");
    problem_print(&e, &out);
    assert_string_equal(
        str_text(&out),
        "{\"errors\":[{\"code\":\"BLOB_UNKNOWN\",\"message\":\"no blob \\\"x\\\"\"}]}");
}

static void who_has_no_room_for_the_code_gets_the_message(void **state)
{
    static const char body[] = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\"}]}";
    char code[1] = "x", message[8];
    (void)state;
    assert_true(problem_read(body, sizeof body - 1, code, 0, message, sizeof message));
    assert_string_equal(message, "no");
    assert_int_equal(code[0], 'x');
}

static void printing_appends(void **state)
{
    (void)state;
    struct error e = {0};
    autostr struct str out = {0};
    error_set(&e, ERR_LIMITED, "slow");
    str_add(&out, "> ");
    problem_print(&e, &out);
    assert_string_equal(str_text(&out),
                        "> {\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"slow\"}]}");
}

static void every_kind_prints_what_can_be_read_back(void **state)
{
    (void)state;
    for (int kind = 0; kind < ERR_COUNT; kind++) {
        struct error e = {0};
        char code[64], message[300];
        autostr struct str out = {0};
        error_set(&e, (enum error_kind)kind, "caf\xc3\xa9 \\ / \"%d\"", kind);
        problem_print(&e, &out);
        assert_true(
            problem_read(str_text(&out), out.length, code, sizeof(code), message, sizeof(message)));
        assert_string_equal(code, error_code(e.kind));
        assert_string_equal(message, e.text);
    }
}

static void the_first_error_of_a_body_is_read(void **state)
{
    (void)state;
    struct said s = said("{\"errors\":[{\"code\":\"DENIED\",\"message\":\"go "
                         "away\",\"detail\":{}},{\"code\":\"X\"}]}");
    assert_true(s.is_problem);
    assert_string_equal(s.code, "DENIED");
    assert_string_equal(s.message, "go away");
}

static void code_or_message_may_be_missing(void **state)
{
    (void)state;
    struct said s = said("{\"errors\":[{\"message\":\"only\"}]}");
    assert_true(s.is_problem);
    assert_string_equal(s.code, "");
    assert_string_equal(s.message, "only");
    s = said("{\"errors\":[{\"code\":\"ONLY\",\"message\":null}]}");
    assert_true(s.is_problem);
    assert_string_equal(s.code, "ONLY");
    assert_string_equal(s.message, "");
}

static void other_bodies_are_no_problem_and_leave_the_results_alone(void **state)
{
    (void)state;
    static const char *const others[] = {
        "",
        "<html>502 Bad Gateway</html>",
        "{}",
        "[]",
        "null",
        "{\"errors\":[]}",
        "{\"errors\":{}}",
        "{\"errors\":null}",
        "{\"errors\":[null]}",
        "{\"errors\":[\"DENIED\"]}",
        "{\"errors\":[{}]}",
        "{\"errors\":[{\"code\":1,\"message\":[]}]}",
        "{\"errors\":[{\"code\":\"A\"}]} trailing",
        "{\"errors\":[{\"code\":\"A\"",
        "{\"message\":\"not in errors\"}",
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        struct said s = said(others[i]);
        if (s.is_problem)
            fail_msg("%s is taken", others[i]);
        assert_string_equal(s.code, "old");
        assert_string_equal(s.message, "older");
    }
    assert_false(problem_read(NULL, 0, NULL, 0, NULL, 0));
}

static void controls_become_spaces(void **state)
{
    (void)state;
    struct said s = said("{\"errors\":[{\"code\":\"A\\r\\nB\",\"message\":\"\\u001b["
                         "31mred\\u007f\\u0085\\u009bx\\t\xc3\xa9\"}]}");
    assert_string_equal(s.code, "A  B");
    assert_string_equal(s.message, " [31mred   x \xc3\xa9");
}

static void what_is_too_long_is_cut_between_characters(void **state)
{
    (void)state;
    struct said s = said("{\"errors\":[{\"code\":\"0123456789ABCDEFGH\",\"message\":\"fits\"}]}");
    assert_string_equal(s.code, "0123456789ABCDE");
    assert_string_equal(said("{\"errors\":[{\"code\":\"0123456789ABCDE\"}]}").code,
                        "0123456789ABCDE");
    /* a character of two bytes just fits, then just does not, then one of four */
    assert_string_equal(said("{\"errors\":[{\"code\":\"0123456789ABC\xc3\xa9Z\"}]}").code,
                        "0123456789ABC\xc3\xa9");
    assert_string_equal(said("{\"errors\":[{\"code\":\"0123456789ABCD\xc3\xa9\"}]}").code,
                        "0123456789ABCD");
    assert_string_equal(said("{\"errors\":[{\"code\":\"0123456789AB\xf0\x9f\x90\xb3\"}]}").code,
                        "0123456789AB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_prints_as_the_spec_wants_it),
        cmocka_unit_test(printing_appends),
        cmocka_unit_test(who_has_no_room_for_the_code_gets_the_message),
        cmocka_unit_test(every_kind_prints_what_can_be_read_back),
        cmocka_unit_test(the_first_error_of_a_body_is_read),
        cmocka_unit_test(code_or_message_may_be_missing),
        cmocka_unit_test(other_bodies_are_no_problem_and_leave_the_results_alone),
        cmocka_unit_test(controls_become_spaces),
        cmocka_unit_test(what_is_too_long_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
