/* SPDX-License-Identifier: Apache-2.0
 * platform: which child of an index is meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/platform.h"
#include "oci/manifest.h"

static void a_list_is_taken_apart_and_all_is_none_in_particular(void **state)
{
    (void)state;
    struct error e;
    autoplatforms struct platforms p = {0};
    assert_int_equal(platforms_read("linux/amd64,linux/arm/v7", &p, &e), 0);
    assert_string_equal(platforms_list(&p)[0], "linux/amd64");
    assert_string_equal(platforms_list(&p)[1], "linux/arm/v7");
    assert_null(platforms_list(&p)[2]);
    platforms_fini(&p);
    assert_int_equal(platforms_read("all", &p, &e), 0);
    assert_null(platforms_list(&p));
}

static void what_is_no_list_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "amd64", "linux/amd64,", "linux/amd64,all"};
    autostr struct str many = {0};
    struct platforms p = {0};
    struct error e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(platforms_read(bad[i], &p, &e), -1);
        assert_int_equal(e.kind, ERR_USAGE);
    }
    for (int i = 0; i <= PLATFORMS_MAX; i++)
        str_format(&many, "%slinux/%d", i ? "," : "", i);
    assert_int_equal(platforms_read(str_text(&many), &p, &e), -1);
    assert_null(p.text);
}

static void a_platform_stands_for_its_variants_and_for_nothing_else(void **state)
{
    (void)state;
    const char *const wanted[] = {"linux/arm", "linux/amd64", NULL};
    assert_true(platform_is_wanted("linux/arm/v7", wanted));
    assert_true(platform_is_wanted("linux/amd64", wanted));
    assert_false(platform_is_wanted("linux/arm64", wanted));
    assert_false(platform_is_wanted("windows/amd64", wanted));
    assert_true(platform_is_wanted("windows/amd64", NULL));
    assert_true(platform_is_wanted("", wanted));
    assert_true(platform_is_wanted(NO_PLATFORM, wanted));
}

static void machines_have_the_names_that_images_give_them(void **state)
{
    (void)state;
    assert_string_equal(platform_of_machine("x86_64"), "linux/amd64");
    assert_string_equal(platform_of_machine("aarch64"), "linux/arm64");
    assert_string_equal(platform_of_machine("armv7l"), "linux/arm/v7");
    assert_non_null(strchr(platform_here(), '/'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_taken_apart_and_all_is_none_in_particular),
        cmocka_unit_test(what_is_no_list_is_refused),
        cmocka_unit_test(a_platform_stands_for_its_variants_and_for_nothing_else),
        cmocka_unit_test(machines_have_the_names_that_images_give_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
