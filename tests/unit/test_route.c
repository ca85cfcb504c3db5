/* SPDX-License-Identifier: Apache-2.0
 * Paths as clients and strangers write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "serve/route.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct route parsed(const char *target)
{
    struct route r;
    struct error e;
    assert_int_equal(route_parse(slice_of(target), &r, &e), 0);
    return r;
}

static enum error_kind refused(const char *target)
{
    struct route r;
    struct error e = {0};
    assert_int_equal(route_parse(slice_of(target), &r, &e), -1);
    return e.kind;
}

static void the_base_is_found_with_and_without_its_slash(void **state)
{
    (void)state;
    assert_int_equal(parsed("/v2/").kind, ROUTE_BASE);
    assert_int_equal(parsed("/v2").kind, ROUTE_BASE);
    assert_int_equal(parsed("http://mirror:5000/v2/").kind, ROUTE_BASE);
}

static void a_manifest_by_tag_and_by_digest_is_taken_apart(void **state)
{
    (void)state;
    struct route r = parsed("/v2/library/alpine/manifests/3.20");
    assert_int_equal(r.kind, ROUTE_MANIFEST);
    assert_string_equal(r.name, "library/alpine");
    assert_string_equal(r.tag, "3.20");
    r = parsed("/v2/library/alpine/manifests/sha256%3A" HEX);
    assert_true(r.has_digest);
    assert_int_equal(r.digest.algorithm, DIGEST_SHA256);
    assert_string_equal(r.tag, "");
}

static void components_called_manifests_blobs_and_tags_belong_to_the_name(void **state)
{
    (void)state;
    struct route r = parsed("/v2/a/blobs/b/manifests/manifests/latest");
    assert_int_equal(r.kind, ROUTE_MANIFEST);
    assert_string_equal(r.name, "a/blobs/b/manifests");
    r = parsed("/v2/tags/list/tags/list");
    assert_int_equal(r.kind, ROUTE_TAGS);
    assert_string_equal(r.name, "tags/list");
    r = parsed("/v2/a/referrers/blobs/sha256:" HEX);
    assert_int_equal(r.kind, ROUTE_BLOB);
    assert_string_equal(r.name, "a/referrers");
}

static void what_stands_before_v2_and_is_longer_than_a_host_is_nothing_here(void **state)
{
    char target[400];
    struct route r;
    struct error e = {0};
    (void)state;
    snprintf(target, sizeof target, "/%0256d/v2/a/tags/list", 0);
    assert_int_equal(route_parse(slice_of(target), &r, &e), 0);
    assert_int_equal(r.kind, ROUTE_UNKNOWN);
}

static void what_stands_before_v2_is_kept(void **state)
{
    (void)state;
    struct route r = parsed("/ghcr.io/v2/o/r/tags/list?n=5");
    assert_string_equal(r.before, "ghcr.io");
    assert_string_equal(r.name, "o/r");
}

static void a_command_is_one_word_after_control(void **state)
{
    (void)state;
    struct route r = parsed("/control/reload?x=1");
    assert_int_equal(r.kind, ROUTE_CONTROL);
    assert_string_equal(r.verb, "reload");
    assert_string_equal(parsed("/control/").verb, "");
    assert_int_equal(parsed("/control").kind, ROUTE_UNKNOWN);
    assert_int_equal(parsed("/control/of-more-than-thirty-one-characters").kind, ROUTE_UNKNOWN);
    assert_int_equal(parsed("/v2/control/reload").kind, ROUTE_UNKNOWN);
    assert_int_equal(refused("/control%2freload"), ERR_NAME_INVALID);
}

static void the_status_is_under_api(void **state)
{
    (void)state;
    assert_int_equal(parsed("/api/status").kind, ROUTE_STATUS);
    assert_int_equal(parsed("/api/explain?image=alpine").kind, ROUTE_EXPLAIN);
    assert_int_equal(parsed("/api/status/").kind, ROUTE_UNKNOWN);
}

static void names_that_break_the_grammar_are_refused(void **state)
{
    (void)state;
    assert_int_equal(refused("/v2/Library/alpine/manifests/latest"), ERR_NAME_INVALID);
    assert_int_equal(refused("/v2/a//b/manifests/latest"), ERR_NAME_INVALID);
    assert_int_equal(refused("/v2/../etc/manifests/latest"), ERR_NAME_INVALID);
    assert_int_equal(refused("/v2/a%2Fb/manifests/latest"), ERR_NAME_INVALID);
    assert_int_equal(refused("/v2/a%2e%2e/manifests/latest"), ERR_NAME_INVALID);
    assert_int_equal(refused("/v2/a%zz/manifests/latest"), ERR_NAME_INVALID);
    assert_int_equal(refused("/v2/a%00/manifests/latest"), ERR_NAME_INVALID);
}

static void bad_tags_and_digests_have_their_own_codes(void **state)
{
    (void)state;
    char tag[200] = "/v2/a/manifests/";
    size_t n = strlen(tag);
    memset(tag + n, 'x', 128);
    tag[n + 128] = 0;
    assert_int_equal(parsed(tag).kind, ROUTE_MANIFEST);
    tag[n + 128] = 'x';
    tag[n + 129] = 0;
    assert_int_equal(refused(tag), ERR_TAG_INVALID);
    assert_int_equal(refused("/v2/a/manifests/sha256:totallywrong"), ERR_DIGEST_INVALID);
    assert_int_equal(refused("/v2/a/blobs/latest"), ERR_DIGEST_INVALID);
    struct route r = parsed("/v2/a/blobs/blake3:" HEX);
    assert_true(r.has_digest);
    assert_int_equal(r.digest.algorithm, 0);
}

static void uploads_and_unknown_paths_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(parsed("/v2/x/blobs/uploads/").kind, ROUTE_UPLOAD);
    assert_int_equal(parsed("/v2/x/blobs/uploads/1-2").kind, ROUTE_UPLOAD);
    assert_int_equal(parsed("/nothing/here").kind, ROUTE_UNKNOWN);
    assert_int_equal(parsed("/v2/_catalog?n=1").kind, ROUTE_CATALOG);
    assert_int_equal(parsed("/healthz").kind, ROUTE_HEALTHZ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_base_is_found_with_and_without_its_slash),
        cmocka_unit_test(a_manifest_by_tag_and_by_digest_is_taken_apart),
        cmocka_unit_test(components_called_manifests_blobs_and_tags_belong_to_the_name),
        cmocka_unit_test(what_stands_before_v2_is_kept),
        cmocka_unit_test(what_stands_before_v2_and_is_longer_than_a_host_is_nothing_here),
        cmocka_unit_test(a_command_is_one_word_after_control),
        cmocka_unit_test(the_status_is_under_api),
        cmocka_unit_test(names_that_break_the_grammar_are_refused),
        cmocka_unit_test(bad_tags_and_digests_have_their_own_codes),
        cmocka_unit_test(uploads_and_unknown_paths_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
