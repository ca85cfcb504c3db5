/* SPDX-License-Identifier: Apache-2.0
 * The words after a command's name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "app/config.h"
#include "base/error.h"
#include "cli/arguments.h"

enum { WORDS_MAX = 12 };

/* What was read of one command line. */
struct line {
    const char *since, *output;
    bool is_all;
    struct arguments arguments;
    char *words[WORDS_MAX];
    int count; /* what arguments_read returned */
    struct error error;
};

/* The command "x" with these words, up to a NULL. */
static void read_line(struct line *l, const char *const *words)
{
    const struct argument table[] = {
        {.name = "--since", .metavar = "RECEIPT", .sentence = "not again", .value = &l->since},
        {.name = "-o", .metavar = "FILE", .sentence = "the output", .value = &l->output},
        {.name = "--all", .sentence = "everything", .flag = &l->is_all}};
    int n = 0;
    l->words[n++] = "x";
    for (; *words && n < WORDS_MAX; words++)
        l->words[n++] = (char *)*words;
    l->arguments = (struct arguments){.usage = "x", .table = table, .count = 3};
    l->count = arguments_read(&l->arguments, n, l->words, &l->error);
    l->arguments.table = NULL;
}

static void options_stand_anywhere_and_the_other_words_come_to_the_front(void **state)
{
    static const char *const words[] = {"one", "--since", "r",     "two",      "-o",
                                        "f",   "--all",   "three", "--data=d", NULL};
    struct line l = {0};
    (void)state;
    read_line(&l, words);
    assert_int_equal(l.count, 3);
    assert_string_equal(l.words[0], "one");
    assert_string_equal(l.words[1], "two");
    assert_string_equal(l.words[2], "three");
    assert_string_equal(l.since, "r");
    assert_string_equal(l.output, "f");
    assert_string_equal(l.arguments.data, "d");
    assert_null(l.arguments.config);
    assert_true(l.is_all);
}

static void the_last_of_several_counts_and_a_value_may_look_like_anything(void **state)
{
    static const char *const words[] = {"--since=a", "--since",   "--all", "-o",
                                        "-",         "--config=", NULL};
    struct line l = {0};
    (void)state;
    read_line(&l, words);
    assert_int_equal(l.count, 0);
    assert_string_equal(l.since, "--all");
    assert_string_equal(l.output, "-");
    assert_string_equal(l.arguments.config, "");
    assert_false(l.is_all);
}

static void two_dashes_end_the_options_and_one_is_a_word(void **state)
{
    static const char *const words[] = {"-", "--", "--all", "--", NULL};
    struct line l = {0};
    (void)state;
    read_line(&l, words);
    assert_int_equal(l.count, 3);
    assert_string_equal(l.words[0], "-");
    assert_string_equal(l.words[1], "--all");
    assert_string_equal(l.words[2], "--");
    assert_false(l.is_all);
}

static void what_is_wrong_is_told_with_the_nearest_that_there_is(void **state)
{
    static const struct {
        const char *words[3], *text;
    } cases[] = {
        {{"--sinc", "x"}, "unknown option --sinc; the nearest is --since"},
        {{"--sinc=a long value"}, "unknown option --sinc=a long value; the nearest is --since"},
        {{"--dat"}, "unknown option --dat; the nearest is --data"},
        {{"--quite-another"}, "unknown option --quite-another"},
        {{"--all=yes"}, "--all takes no value"},
        {{"--since"}, "--since needs a value"},
        {{"a", "-o"}, "-o needs a value"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct line l = {0};
        read_line(&l, cases[i].words);
        assert_int_equal(l.count, -1);
        assert_int_equal(l.error.kind, ERR_USAGE);
        assert_string_equal(l.error.text, cases[i].text);
    }
}

static void help_is_an_answer_and_ends_the_reading(void **state)
{
    static const char *const words[] = {"--help", "--unknown", NULL};
    struct line l = {0};
    const struct argument table[] = {
        {.name = "--all", .sentence = "everything", .flag = &l.is_all}};
    (void)state;
    l.words[0] = "x";
    l.words[1] = (char *)words[0];
    l.words[2] = (char *)words[1];
    l.arguments = (struct arguments){.usage = "x", .table = table, .count = 1};
    assert_int_equal(arguments_read(&l.arguments, 3, l.words, &l.error), -2);
}

static void the_data_folder_of_the_command_line_wins(void **state)
{
    struct arguments a = {.data = "/from/the/line"};
    struct config c;
    (void)state;
    setenv("TRANSHIP_DATA", "/from/the/environment", 1);
    char *data = arguments_data(&a);
    assert_string_equal(data, "/from/the/line");
    free(data);
    a.data = NULL;
    assert_int_equal(arguments_config(&a, &c), 0);
    assert_string_equal(c.data, "/from/the/environment");
    config_fini(&c);
    unsetenv("TRANSHIP_DATA");
    a.config = "/nonexistent/tranship.json";
    assert_null(arguments_data(&a));
}

static void a_wrong_command_line_is_status_two_and_a_failure_one(void **state)
{
    struct error e = {0};
    (void)state;
    error_set(&e, ERR_USAGE, "x");
    assert_int_equal(arguments_fail(&e), 2);
    error_set(&e, ERR_IO, "x");
    assert_int_equal(arguments_fail(&e), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere_and_the_other_words_come_to_the_front),
        cmocka_unit_test(the_last_of_several_counts_and_a_value_may_look_like_anything),
        cmocka_unit_test(two_dashes_end_the_options_and_one_is_a_word),
        cmocka_unit_test(what_is_wrong_is_told_with_the_nearest_that_there_is),
        cmocka_unit_test(help_is_an_answer_and_ends_the_reading),
        cmocka_unit_test(the_data_folder_of_the_command_line_wins),
        cmocka_unit_test(a_wrong_command_line_is_status_two_and_a_failure_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
