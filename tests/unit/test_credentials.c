/* SPDX-License-Identifier: Apache-2.0
 * credentials: docker's config.json and the answers of its helpers, right and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "upstream/credentials.h"

static struct credentials found;

static int over(void **state)
{
    (void)state;
    credentials_fini(&found);
    return 0;
}

static int look(const char *file, const char *registry, struct error *e)
{
    credentials_fini(&found);
    return credentials_from_docker(file, strlen(file), registry, &found, e);
}

static void a_login_is_found_under_every_form_of_its_name(void **state)
{
    static const char *const keys[] = {"https://index.docker.io/v1/", "docker.io",
                                       "registry-1.docker.io", "https://docker.io",
                                       "http://index.docker.io/v2"};
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char file[200];
        struct error e = {0};
        snprintf(file, sizeof file, "{\"auths\":{\"x.io\":{},\"%s\":{\"auth\":\"bWU6czpjcmV0\"}}}",
                 keys[i]);
        assert_int_equal(look(file, "docker.io", &e), 1);
        assert_string_equal(found.username, "me");
        assert_string_equal(found.password, "s:cret");
    }
}

static void another_registrys_login_is_not_taken(void **state)
{
    struct error e = {0};
    (void)state;
    assert_int_equal(look("{\"auths\":{\"quay.io\":{\"auth\":\"bWU6czpjcmV0\"},"
                          "\"ghcr.io/owner\":{\"auth\":\"bWU6czpjcmV0\"}}}",
                          "ghcr.io", &e),
                     0);
    assert_int_equal(look("{}", "ghcr.io", &e), 0);
    assert_int_equal(look("{\"credsStore\":\"pass\"}", "ghcr.io", &e), 0);
    assert_null(found.username);
}

static void helpers_are_named_for_one_registry_or_for_all_that_are_logged_in(void **state)
{
    struct error e = {0};
    (void)state;
    assert_int_equal(look("{\"auths\":{\"a.io\":{}},\"credsStore\":\"pass\"}", "a.io", &e), 1);
    assert_string_equal(found.helper, "pass");
    assert_int_equal(
        look("{\"credHelpers\":{\"a.io\":\"ecr-login\"},\"credsStore\":\"pass\"}", "a.io", &e), 1);
    assert_string_equal(found.helper, "ecr-login");
}

static void padding_and_plain_fields_are_read(void **state)
{
    struct error e = {0};
    (void)state;
    assert_int_equal(look("{\"auths\":{\"a.io\":{\"auth\":\"YTpi\"}}}", "a.io", &e), 1);
    assert_string_equal(found.password, "b");
    assert_int_equal(look("{\"auths\":{\"a.io\":{\"auth\":\"YTpiYg==\"}}}", "a.io", &e), 1);
    assert_string_equal(found.password, "bb");
    assert_int_equal(look("{\"auths\":{\"a.io\":{\"auth\":\"YTpiYmI=\"}}}", "a.io", &e), 1);
    assert_string_equal(found.password, "bbb");
    assert_int_equal(
        look("{\"auths\":{\"a.io\":{\"username\":\"u\",\"password\":\"\"}}}", "a.io", &e), 1);
    assert_string_equal(found.password, "");
}

static void what_cannot_be_used_is_an_error_that_repeats_nothing(void **state)
{
    static const char *const files[] = {
        "",
        "[]",
        "{\"auths\":{\"a.io\":{\"auth\":\"hunter2\"}}}",
        "{\"auths\":{\"a.io\":{\"auth\":\"aHVu\"}}}",
        "{\"auths\":{\"a.io\":{\"auth\":\"OmI=\"}}}",     /* ":b" */
        "{\"auths\":{\"a.io\":{\"auth\":\"YToAYQ==\"}}}", /* "a:\0a" */
        "{\"auths\":{\"a.io\":{\"auth\":\"YTpi\",\"identitytoken\":\"hunter2\"}}}"};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct error e = {0};
        assert_int_equal(look(files[i], "a.io", &e), -1);
        assert_int_equal(e.kind, ERR_USAGE);
        assert_null(strstr(e.text, "hunter2"));
        assert_null(found.username);
    }
}

static void a_helpers_answer_is_a_user_and_a_secret(void **state)
{
    static const char right[] = "{\"ServerURL\":\"a.io\",\"Username\":\"u\",\"Secret\":\"s\"}\n";
    static const char *const wrong[] = {"", "hunter2", "{\"Username\":\"u\"}",
                                        "{\"Username\":\"\",\"Secret\":\"hunter2\"}",
                                        "{\"Username\":\"<token>\",\"Secret\":\"hunter2\"}"};
    struct error e = {0};
    (void)state;
    assert_int_equal(credentials_from_helper(right, strlen(right), &found, &e), 0);
    assert_string_equal(found.username, "u");
    assert_string_equal(found.password, "s");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct credentials none;
        assert_int_equal(credentials_from_helper(wrong[i], strlen(wrong[i]), &none, &e), -1);
        assert_null(strstr(e.text, "hunter2"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_login_is_found_under_every_form_of_its_name, over),
        cmocka_unit_test_teardown(another_registrys_login_is_not_taken, over),
        cmocka_unit_test_teardown(helpers_are_named_for_one_registry_or_for_all_that_are_logged_in,
                                  over),
        cmocka_unit_test_teardown(padding_and_plain_fields_are_read, over),
        cmocka_unit_test_teardown(what_cannot_be_used_is_an_error_that_repeats_nothing, over),
        cmocka_unit_test_teardown(a_helpers_answer_is_a_user_and_a_secret, over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
