/* SPDX-License-Identifier: Apache-2.0
 * error: plain data that stays one line of whole characters, whatever goes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"

static void set_fills_kind_and_text_and_clears_the_numbers(void **state)
{
    (void)state;
    struct error e = {.retry_after_s = 30, .upstream_status = 429, .text = "old"};
    assert_int_equal(error_set(&e, ERR_TIMEOUT, "no answer from %s in %d s", "a.example", 5), -1);
    assert_int_equal(e.kind, ERR_TIMEOUT);
    assert_int_equal(e.retry_after_s, 0);
    assert_int_equal(e.upstream_status, 0);
    assert_string_equal(e.text, "no answer from a.example in 5 s");
}

static void a_caller_who_does_not_care_passes_null(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, ERR_IO, "x"), -1);
    assert_int_equal(error_errno(NULL, "x"), -1);
    assert_int_equal(error_prefix(NULL, "x"), -1);
}

static void errno_text_follows_and_errno_survives(void **state)
{
    (void)state;
    struct error e = {0};
    errno = ENOENT;
    assert_int_equal(error_errno(&e, "open %s", "blob"), -1);
    assert_int_equal(e.kind, ERR_IO);
    assert_string_equal(e.text, "open blob: No such file or directory");
    assert_int_equal(errno, ENOENT);
}

static void a_full_disk_or_quota_is_its_own_kind(void **state)
{
    (void)state;
    struct error e = {0};
    errno = ENOSPC;
    error_errno(&e, "write");
    assert_int_equal(e.kind, ERR_NO_SPACE);
    errno = EDQUOT;
    error_errno(&e, "write");
    assert_int_equal(e.kind, ERR_NO_SPACE);
}

static void what_the_process_is_short_of_is_no_fault_of_the_file(void **state)
{
    static const int numbers[] = {EMFILE, ENFILE, ENOMEM};
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct error e = {0};
        errno = numbers[i];
        error_errno(&e, "open");
        assert_int_equal(e.kind, ERR_BUSY);
    }
}

static void prefix_keeps_kind_and_numbers(void **state)
{
    (void)state;
    struct error e = {
        .kind = ERR_LIMITED, .retry_after_s = 7, .upstream_status = 429, .text = "slow down"};
    assert_int_equal(error_prefix(&e, "ask %s", "a.example"), -1);
    assert_string_equal(e.text, "ask a.example: slow down");
    assert_int_equal(e.kind, ERR_LIMITED);
    assert_int_equal(e.retry_after_s, 7);
    assert_int_equal(e.upstream_status, 429);
}

static void the_old_text_may_be_an_argument_of_the_new(void **state)
{
    (void)state;
    struct error e = {.text = "inner"};
    error_set(&e, ERR_IO, "outer (%s)", e.text);
    assert_string_equal(e.text, "outer (inner)");
    error_prefix(&e, "again %s", e.text);
    assert_string_equal(e.text, "again outer (inner): outer (inner)");
}

static void control_bytes_become_spaces(void **state)
{
    (void)state;
    struct error e = {0};
    error_set(&e, ERR_UPSTREAM, "said \"a\r\nb\x1b[2J\x7f\"");
    assert_string_equal(e.text, "said \"a  b [2J \"");
}

static void a_long_text_is_cut_and_terminated(void **state)
{
    (void)state;
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct error e = {0};
    error_set(&e, ERR_IO, "%s", text);
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
    error_prefix(&e, "in front");
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
    assert_memory_equal(e.text, "in front: xxx", 13);
    error_prefix(&e, "%s", text);
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
    assert_true(e.text[0] == 'x');
}

static void a_cut_never_splits_a_character(void **state)
{
    (void)state;
    static const char *const characters[] = {"é", "€", "😀"};
    for (size_t c = 0; c < 3; c++) {
        size_t width = strlen(characters[c]);
        for (size_t fits = 0; fits <= width; fits++) {
            char text[400];
            size_t before = sizeof(((struct error *)NULL)->text) - 1 - fits;
            memset(text, 'x', before);
            memcpy(text + before, characters[c], width + 1);
            struct error e = {0};
            error_set(&e, ERR_IO, "%s", text);
            assert_int_equal(strlen(e.text), fits == width ? before + width : before);
        }
    }
}

static void the_table_answers_for_each_kind(void **state)
{
    (void)state;
    assert_int_equal(error_http_status(ERR_BLOB_UNKNOWN), 404);
    assert_string_equal(error_code(ERR_LIMITED), "TOOMANYREQUESTS");
    assert_int_equal(error_exit_status(ERR_CORRUPT), 65);
    assert_string_equal(error_name(ERR_TIMEOUT), "ERR_TIMEOUT");
    for (int kind = 0; kind < ERR_COUNT; kind++) {
        assert_in_range(error_http_status((enum error_kind)kind), 400, 599);
        assert_in_range(error_exit_status((enum error_kind)kind), 1, 78);
        assert_true(error_code((enum error_kind)kind)[0] != '\0');
    }
}

static void a_kind_out_of_the_table_is_internal(void **state)
{
    (void)state;
    assert_string_equal(error_name(ERR_COUNT), "ERR_INTERNAL");
    assert_int_equal(error_http_status(ERR_COUNT), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_fills_kind_and_text_and_clears_the_numbers),
        cmocka_unit_test(a_caller_who_does_not_care_passes_null),
        cmocka_unit_test(errno_text_follows_and_errno_survives),
        cmocka_unit_test(a_full_disk_or_quota_is_its_own_kind),
        cmocka_unit_test(what_the_process_is_short_of_is_no_fault_of_the_file),
        cmocka_unit_test(prefix_keeps_kind_and_numbers),
        cmocka_unit_test(the_old_text_may_be_an_argument_of_the_new),
        cmocka_unit_test(control_bytes_become_spaces),
        cmocka_unit_test(a_long_text_is_cut_and_terminated),
        cmocka_unit_test(a_cut_never_splits_a_character),
        cmocka_unit_test(the_table_answers_for_each_kind),
        cmocka_unit_test(a_kind_out_of_the_table_is_internal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
