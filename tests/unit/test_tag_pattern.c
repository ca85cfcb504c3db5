/* SPDX-License-Identifier: Apache-2.0
 * tag_pattern: which tags are meant, and which is the newest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "oci/tag_pattern.h"

static const struct {
    const char *pattern, *tag;
    bool matches;
} cases[] = {
    {"1.27.*", "1.27.0", true},
    {"1.27.*", "1.27.10", true},
    {"1.27.*", "1.27", false},
    {"1.27.*", "1.28.0", false},
    {"1.27.*", "1.27.0-alpine", false},
    {"1.27.*-alpine", "1.27.0-alpine", true},
    {"1.27.?", "1.27.10", false},
    {"1.2[78].0", "1.28.0", true},
    {"bookworm*", "bookworm-slim", true}, /* no version, and so no pre-release of one */
    {"*", "latest", true},
    {"*", "2.0-rc1", false},
    {">=7 <8", "7", true},
    {">=7 <8", "7.4.2", true},
    {">=7 <8", "v7.4.2", true},
    {">=7 <8", "6.9.9", false},
    {">=7 <8", "8", false},
    {">=7 <8", "8.0.0-rc1", false},
    {">=7 <8", "7.4.2-alpine", false},
    {">=7-0 <8", "7.4.2-alpine", true},
    {">=7,<8", "7.1", true},
    {">= 7 < 8", "7.1", true},
    {">=7 <8", "latest", false},
    {">7", "7.4", false},
    {">7", "8.0", true},
    {"<=7.2", "7.2.9", true},
    {"<=7.2", "7.3", false},
    {"=7.2", "7.2.5", true},
    {"=7.2", "7.20", false},
    {"!=7.2 >=7 <8", "7.2.5", false},
    {"!=7.2 >=7 <8", "7.3", true},
    {"^1.2", "1.9.9", true},
    {"^1.2", "1.1.9", false},
    {"^1.2", "2.0", false},
    {"^0.2.3", "0.2.9", true},
    {"^0.2.3", "0.3.0", false},
    {"~1.2.3", "1.2.9", true},
    {"~1.2.3", "1.3.0", false},
    {"~1", "1.9", true},
    {"~1", "2", false},
    {">=2024.1", "20240101", true},
    {">=1", "99999999999999999999", false}, /* no number that anybody counts to */
};

static void a_pattern_means_these_tags_and_not_those(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e;
        struct slice pattern = slice_of(cases[i].pattern);
        assert_true(tag_pattern_looks_like(pattern));
        assert_int_equal(tag_pattern_check(pattern, &e), 0);
        if (tag_pattern_matches(pattern, cases[i].tag) != cases[i].matches)
            fail_msg("%s and %s", cases[i].pattern, cases[i].tag);
    }
}

static void what_is_no_pattern_is_refused(void **state)
{
    static const char *const bad[] = {"",     ">=",      ">=x", ">=7 or <8",  ">=7 8",
                                      ">=7-", "1.2 1.3", "$x*", ">=1.2.3.4.5"};
    char long_one[400];
    struct error e;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tag_pattern_check(slice_of(bad[i]), &e) == 0)
            fail_msg("%s", bad[i]);
    memset(long_one, '*', sizeof long_one);
    assert_int_equal(tag_pattern_check((struct slice){long_one, sizeof long_one}, &e), -1);
    assert_int_equal(e.kind, ERR_TAG_INVALID);
    assert_false(tag_pattern_looks_like(slice_of("1.27.0-alpine_x")));
}

static int by_age(const void *a, const void *b)
{
    return tag_compare(*(const char *const *)a, *(const char *const *)b);
}

static void tags_stand_in_the_order_of_their_versions(void **state)
{
    static const char *const order[] = {"bookworm-20240110",
                                        "bookworm-20240211",
                                        "latest",
                                        "1.9",
                                        "1.10.0-rc2",
                                        "1.10.0-rc10",
                                        "1.10",
                                        "1.10.0",
                                        "1.10.1",
                                        "v2",
                                        "7",
                                        "7.4.2-alpine",
                                        "7.4.2",
                                        "10",
                                        "20240101"};
    enum { COUNT = sizeof order / sizeof *order };
    const char *all[COUNT];
    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        all[i] = order[COUNT - 1 - i];
    qsort(all, COUNT, sizeof *all, by_age);
    for (size_t i = 0; i < COUNT; i++)
        assert_string_equal(all[i], order[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_means_these_tags_and_not_those),
        cmocka_unit_test(what_is_no_pattern_is_refused),
        cmocka_unit_test(tags_stand_in_the_order_of_their_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
