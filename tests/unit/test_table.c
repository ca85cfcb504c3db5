/* SPDX-License-Identifier: Apache-2.0
 * Tables: as wide as what is in them, and nothing in them that could move a cursor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "cli/table.h"

static const char *const heads[] = {"NAME", ">SIZE", "STATE", NULL};

static void columns_are_as_wide_as_what_is_in_them(void **state)
{
    autostr struct str out = {0};
    autotable struct table t = {.heads = heads};
    const char *const cells[] = {"a", "1.5 GiB", "whole", "a longer name", "7 B", "-"};
    (void)state;
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
        table_add(&t, cells[i]);
    table_print(&t, &out);
    assert_string_equal(str_text(&out), "NAME              SIZE  STATE\n"
                                        "a              1.5 GiB  whole\n"
                                        "a longer name      7 B  -\n");
}

static void an_empty_table_has_its_heads(void **state)
{
    autostr struct str out = {0};
    autotable struct table t = {.heads = heads};
    (void)state;
    table_print(&t, &out);
    assert_string_equal(str_text(&out), "NAME  SIZE  STATE\n");
}

static void what_moves_a_cursor_becomes_a_question_mark(void **state)
{
    autostr struct str out = {0};
    static const char *const one[] = {"X", NULL};
    autotable struct table t = {.heads = one};
    (void)state;
    table_add(&t, "a\x1b[2J\nb\xc3\xa4");
    table_print(&t, &out);
    assert_string_equal(str_text(&out), "X\na?[2J?b??\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_what_is_in_them),
        cmocka_unit_test(an_empty_table_has_its_heads),
        cmocka_unit_test(what_moves_a_cursor_becomes_a_question_mark),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
