/* SPDX-License-Identifier: Apache-2.0
 * challenge: the best of all lines wins, and nothing inside a quoted string is taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "oci/challenge.h"

static struct challenge seen(const char *header)
{
    struct challenge c = {0};
    challenge_read(slice_of(header), &c);
    return c;
}

static void assert_bearer(const char *header, const char *realm, const char *service,
                          const char *scope)
{
    struct challenge c = seen(header);
    assert_int_equal(c.scheme, CHALLENGE_BEARER);
    assert_string_equal(c.realm, realm);
    assert_string_equal(c.service, service);
    assert_string_equal(c.scope, scope);
}

static void the_challenge_of_docker_hub_is_read(void **state)
{
    (void)state;
    assert_bearer("Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
                  "scope=\"repository:library/alpine:pull\"",
                  "https://auth.docker.io/token", "registry.docker.io",
                  "repository:library/alpine:pull");
}

static void case_blanks_and_missing_quotes_do_not_matter(void **state)
{
    (void)state;
    assert_bearer("  bEARER \tREALM = \"https://a/t\" ,\t Service=reg.io , SCOPE=x", "https://a/t",
                  "reg.io", "x");
    assert_bearer("Bearer realm=https://a/t?x=y,service=b", "https://a/t?x=y", "b", "");
    assert_bearer("Bearer realm=\"r\" service=\"s\" scope=\"c\"", "r", "s", "c");
    assert_bearer(",, Bearer realm=\"r\",,, service=\"s\",", "r", "s", "");
    assert_bearer("Bearer scope=\"a,b c\",realm=\"r\"", "r", "", "a,b c");
}

static void escapes_are_undone(void **state)
{
    (void)state;
    assert_bearer("Bearer realm=\"a\\\"b\\\\c\\d\",service=\"\"", "a\"b\\cd", "", "");
}

static void the_error_is_kept(void **state)
{
    (void)state;
    struct challenge c =
        seen("Bearer realm=\"r\",error=\"insufficient_scope\",error_description=\"no\"");
    assert_string_equal(c.error, "insufficient_scope");
}

static void bearer_is_preferred_wherever_it_stands(void **state)
{
    (void)state;
    assert_bearer("Basic realm=\"b\", Bearer realm=\"r\",service=\"s\"", "r", "s", "");
    assert_bearer("Bearer realm=\"r\",service=\"s\", Basic realm=\"b\"", "r", "s", "");
    struct challenge c = {0};
    challenge_read(slice_of("Basic realm=\"b\""), &c);
    assert_int_equal(c.scheme, CHALLENGE_BASIC);
    assert_string_equal(c.realm, "b");
    challenge_read(slice_of("Digest realm=\"d\""), &c);
    assert_int_equal(c.scheme, CHALLENGE_BASIC);
    challenge_read(slice_of("Bearer realm=\"r\""), &c);
    assert_int_equal(c.scheme, CHALLENGE_BEARER);
    challenge_read(slice_of("Basic realm=\"late\""), &c);
    assert_int_equal(c.scheme, CHALLENGE_BEARER);
    assert_string_equal(c.realm, "r");
}

static void the_first_of_equals_is_kept(void **state)
{
    (void)state;
    assert_bearer("Bearer realm=\"one\", Bearer realm=\"two\"", "one", "", "");
    assert_string_equal(seen("Basic realm=\"one\", Basic realm=\"two\"").realm, "one");
}

static void bearer_without_a_realm_is_no_challenge(void **state)
{
    (void)state;
    assert_int_equal(seen("Bearer").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("Bearer realm=\"\"").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("Bearer realm=").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("Bearer service=\"s\"").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("Bearer service=\"s\", Basic realm=\"b\"").scheme, CHALLENGE_BASIC);
    assert_int_equal(seen("Basic").scheme, CHALLENGE_BASIC);
}

static void unknown_schemes_and_nothing_are_no_challenge(void **state)
{
    (void)state;
    assert_int_equal(seen("").scheme, CHALLENGE_NONE);
    assert_int_equal(seen(NULL).scheme, CHALLENGE_NONE);
    assert_int_equal(seen(" , ,").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("Negotiate").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("realm=\"r\"").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("Digest realm=\"r\",nonce=\"n\"").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("BearerX realm=\"r\"").scheme, CHALLENGE_NONE);
}

static void parameters_of_another_scheme_are_not_mixed_in(void **state)
{
    (void)state;
    assert_bearer("Digest realm=\"d\",service=\"ds\",scope=\"dsc\", Bearer realm=\"r\"", "r", "",
                  "");
    assert_bearer("Bearer realm=\"r\", Digest realm=\"d\",service=\"ds\"", "r", "", "");
}

static void tokens_and_junk_before_a_challenge_are_passed_over(void **state)
{
    (void)state;
    assert_bearer("Negotiate YII/ab+c==, Bearer realm=\"r\"", "r", "", "");
    assert_bearer("Negotiate abc=, Bearer realm=\"r\"", "r", "", "");
    assert_int_equal(seen("Negotiate basic").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("Negotiate x/basic==").scheme, CHALLENGE_NONE);
    assert_bearer("Negotiate, Bearer realm=\"r\"", "r", "", "");
    assert_bearer("@@ ;, Bearer realm=\"r\"", "r", "", "");
    assert_bearer("= = \"Basic realm=x\" Bearer realm=\"r\"", "r", "", "");
}

static void a_quoted_string_is_never_read_as_a_challenge(void **state)
{
    (void)state;
    assert_bearer("Digest title=\", Bearer realm=\\\"evil\\\", \", Bearer realm=\"r\"", "r", "",
                  "");
    assert_int_equal(seen("Digest title=\"x, Bearer realm=evil\"").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("\"x, Bearer realm=evil\"").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("Digest title=\"never ends, Bearer realm=evil").scheme, CHALLENGE_NONE);
}

static void what_never_ends_or_holds_controls_is_unusable(void **state)
{
    (void)state;
    assert_int_equal(seen("Bearer realm=\"https://a").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("Bearer realm=\"a\\").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("Bearer realm=\"a\nb\"").scheme, CHALLENGE_NONE);
    assert_int_equal(seen("Bearer realm=\"a\x7f\"").scheme, CHALLENGE_NONE);
    struct challenge c = {0};
    challenge_read((struct slice){"Bearer realm=\"a\0b\"", 18}, &c);
    assert_int_equal(c.scheme, CHALLENGE_NONE);
}

static char *with_long(const char *before, size_t count, const char *after)
{
    autofree char *filler = alloc_zero(count + 1);
    memset(filler, 'a', count);
    return alloc_format("%s%s%s", before, filler, after);
}

static void a_field_that_does_not_fit_makes_its_challenge_unusable(void **state)
{
    (void)state;
    autofree char *fits = with_long("Bearer realm=\"", 1023, "\"");
    autofree char *over = with_long("Bearer realm=\"", 1024, "\", Basic realm=\"b\"");
    autofree char *scope = with_long("Bearer realm=r,scope=", 512, ",service=s");
    autofree char *inside = with_long("Bearer realm=\"", 1100, ", Bearer realm=evil\"");
    assert_int_equal(strlen(seen(fits).realm), 1023);
    assert_int_equal(seen(over).scheme, CHALLENGE_BASIC);
    assert_string_equal(seen(over).realm, "b");
    assert_int_equal(seen(scope).scheme, CHALLENGE_NONE);
    assert_int_equal(seen(inside).scheme, CHALLENGE_NONE);
}

static void a_long_parameter_that_nobody_asks_for_does_no_harm(void **state)
{
    (void)state;
    autofree char *text = with_long("Bearer error_description=\"", 5000, "\",realm=\"r\"");
    assert_bearer(text, "r", "", "");
}

static void a_scope_names_a_repository_or_not(void **state)
{
    (void)state;
    assert_true(challenge_scope_names("repository:library/alpine:pull", "library/alpine"));
    assert_true(challenge_scope_names("repository:a/b:pull,push", "a/b"));
    assert_true(challenge_scope_names("repository(plugin):a/b:pull", "a/b"));
    assert_true(challenge_scope_names("repository:host:5000/a:pull", "host:5000/a"));
    assert_false(challenge_scope_names("repository:user/image:pull", "library/alpine"));
    assert_false(challenge_scope_names("repository:library/alpine", "library/alpine"));
    assert_false(challenge_scope_names("repository:library/alpine:edge:pull", "library/alpine"));
    assert_false(challenge_scope_names("registry:catalog:*", "catalog"));
    assert_false(challenge_scope_names("repository:Library/alpine:pull", "library/alpine"));
    assert_false(challenge_scope_names("repository:a:pull repository:b:pull", "a"));
    assert_false(challenge_scope_names("", ""));
    assert_false(challenge_scope_names("a", "a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_challenge_of_docker_hub_is_read),
        cmocka_unit_test(case_blanks_and_missing_quotes_do_not_matter),
        cmocka_unit_test(escapes_are_undone),
        cmocka_unit_test(the_error_is_kept),
        cmocka_unit_test(bearer_is_preferred_wherever_it_stands),
        cmocka_unit_test(the_first_of_equals_is_kept),
        cmocka_unit_test(bearer_without_a_realm_is_no_challenge),
        cmocka_unit_test(unknown_schemes_and_nothing_are_no_challenge),
        cmocka_unit_test(parameters_of_another_scheme_are_not_mixed_in),
        cmocka_unit_test(tokens_and_junk_before_a_challenge_are_passed_over),
        cmocka_unit_test(a_quoted_string_is_never_read_as_a_challenge),
        cmocka_unit_test(what_never_ends_or_holds_controls_is_unusable),
        cmocka_unit_test(a_field_that_does_not_fit_makes_its_challenge_unusable),
        cmocka_unit_test(a_long_parameter_that_nobody_asks_for_does_no_harm),
        cmocka_unit_test(a_scope_names_a_repository_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
