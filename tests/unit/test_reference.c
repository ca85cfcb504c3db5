/* SPDX-License-Identifier: Apache-2.0
 * reference: names as users write them, and every spelling that must not get through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "oci/reference.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static struct slice letters(char out[400], size_t count)
{
    memset(out, 'a', count);
    return (struct slice){out, count};
}

static struct reference parsed(const char *text)
{
    struct reference r;
    struct error e = {0};
    if (reference_parse(slice_of(text), &r, &e) != 0)
        fail_msg("\"%s\": %s", text, e.text);
    return r;
}

static void assert_parses(const char *text, const char *registry, const char *repository,
                          const char *tag)
{
    struct reference r = parsed(text);
    assert_string_equal(r.registry, registry);
    assert_string_equal(r.repository, repository);
    assert_string_equal(r.tag, tag);
}

static enum error_kind refused(const char *text)
{
    struct reference r, before;
    struct error e = {0};
    memset(&r, 0x5a, sizeof(r));
    before = r;
    if (reference_parse(slice_of(text), &r, &e) != -1)
        fail_msg("\"%s\" is not refused", text);
    assert_memory_equal(&r, &before, sizeof(r));
    assert_null(strchr(e.text, '\n'));
    return e.kind;
}

static void repositories_of_the_grammar_are_taken(void **state)
{
    (void)state;
    static const char *const good[] = {
        "a",          "0",
        "alpine",     "library/alpine",
        "a/b/c/d/e",  "a.b",
        "a_b",        "a__b",
        "a-b",        "a--b",
        "a-----b",    "foo.com/bar",
        "a.b_c__d-e", "kubernetes/pause-amd64",
        "1/2/3",
    };
    for (size_t i = 0; i < COUNT(good); i++)
        if (!reference_is_repository(slice_of(good[i])))
            fail_msg("\"%s\" is refused", good[i]);
}

static void other_repositories_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",     "/",        "A",     "Alpine", "a/",    "/a",    "a//b", ".",     "..",
        "a/..", "../a",     "a/./b", "a..b",   "a___b", "a._b",  "a-.b", "_a",    "a_",
        "-a",   "a-",       ".a",    "a.",     "a b",   "a:b",   "a@b",  "a%2fb", "a\\b",
        "a\nb", "\xc3\xa9", "a/B/c", "a+b",    "~a",    "a/b?c", "a*",
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        if (reference_is_repository(slice_of(bad[i])))
            fail_msg("\"%s\" is taken", bad[i]);
    assert_false(reference_is_repository((struct slice){"a\0b", 3}));
    assert_false(reference_is_repository((struct slice){"a\0", 2}));
}

static void a_repository_has_at_most_255_bytes(void **state)
{
    (void)state;
    char text[400];
    assert_true(reference_is_repository(letters(text, 255)));
    assert_false(reference_is_repository(letters(text, 256)));
}

static void tags_of_the_grammar_are_taken_and_others_refused(void **state)
{
    (void)state;
    static const char *const good[] = {"latest", "1", "_", "3.19", "A-b_c.D", "sha256-" HEX ".sig",
                                       "a--"};
    static const char *const bad[] = {"",    ".a",  "-a",  "a+b",      "a:b",
                                      "a/b", "a b", "a\n", "\xc3\xa9", "%41"};
    char text[400];
    for (size_t i = 0; i < COUNT(good); i++)
        if (!reference_is_tag(slice_of(good[i])))
            fail_msg("\"%s\" is refused", good[i]);
    for (size_t i = 0; i < COUNT(bad); i++)
        if (reference_is_tag(slice_of(bad[i])))
            fail_msg("\"%s\" is taken", bad[i]);
    assert_false(reference_is_tag((struct slice){"a\0", 2}));
    assert_true(reference_is_tag(letters(text, 128)));
    assert_false(reference_is_tag(letters(text, 129)));
}

static void short_names_are_of_docker_io_and_its_library(void **state)
{
    (void)state;
    assert_parses("alpine", "docker.io", "library/alpine", "latest");
    assert_parses("alpine:3.19", "docker.io", "library/alpine", "3.19");
    assert_parses("grafana/grafana", "docker.io", "grafana/grafana", "latest");
    assert_parses("docker.io/alpine", "docker.io", "library/alpine", "latest");
    assert_parses("index.docker.io/alpine", "docker.io", "library/alpine", "latest");
    assert_parses("registry-1.docker.io/library/alpine:edge", "docker.io", "library/alpine",
                  "edge");
    assert_parses("Docker.IO/a/b", "docker.io", "a/b", "latest");
    assert_parses("localhost", "docker.io", "library/localhost", "latest");
    assert_parses("alpine:5000", "docker.io", "library/alpine", "5000");
}

static void a_first_part_with_a_dot_or_colon_is_the_registry(void **state)
{
    (void)state;
    assert_parses("ghcr.io/owner/image:v1", "ghcr.io", "owner/image", "v1");
    assert_parses("quay.io/one", "quay.io", "one", "latest");
    assert_parses("localhost/one", "localhost", "one", "latest");
    assert_parses("localhost:5000/one:two", "localhost:5000", "one", "two");
    assert_parses("mirror:5000/a/b", "mirror:5000", "a/b", "latest");
    assert_parses("GHCR.io/a", "ghcr.io", "a", "latest");
    assert_parses("10.0.0.1:80/a", "10.0.0.1:80", "a", "latest");
    assert_parses("[::1]:5000/a:b", "[::1]:5000", "a", "b");
    assert_parses("[FE80::1]/a", "[fe80::1]", "a", "latest");
    assert_parses("not-a-host/one", "docker.io", "not-a-host/one", "latest");
}

static void a_digest_stands_alone_or_beside_a_tag(void **state)
{
    (void)state;
    struct reference r = parsed("alpine@sha256:" HEX);
    char text[DIGEST_TEXT_MAX];
    assert_string_equal(r.tag, "");
    assert_string_equal(r.repository, "library/alpine");
    assert_string_equal(digest_print(&r.digest, text), "sha256:" HEX);
    r = parsed("ghcr.io/a/b:v1@sha256:" HEX);
    assert_string_equal(r.tag, "v1");
    assert_int_equal(r.digest.algorithm, DIGEST_SHA256);
    r = parsed("alpine:3");
    assert_int_equal(r.digest.algorithm, 0);
}

static void malformed_names_are_refused_for_what_is_wrong(void **state)
{
    (void)state;
    assert_int_equal(refused(""), ERR_NAME_INVALID);
    assert_int_equal(refused("Alpine"), ERR_NAME_INVALID);
    assert_int_equal(refused("Foo/bar"), ERR_NAME_INVALID);
    assert_int_equal(refused("ghcr.io/"), ERR_NAME_INVALID);
    assert_int_equal(refused("/alpine"), ERR_NAME_INVALID);
    assert_int_equal(refused("https://ghcr.io/a/b"), ERR_NAME_INVALID);
    assert_int_equal(refused("a/../b"), ERR_NAME_INVALID);
    assert_int_equal(refused("host:x/a"), ERR_NAME_INVALID);
    assert_int_equal(refused("host:0/a"), ERR_NAME_INVALID);
    assert_int_equal(refused("host:65536/a"), ERR_NAME_INVALID);
    assert_int_equal(refused("alpine\nlatest"), ERR_NAME_INVALID);
    assert_int_equal(refused("alpine:"), ERR_TAG_INVALID);
    assert_int_equal(refused("alpine:.x"), ERR_TAG_INVALID);
    assert_int_equal(refused("alpine@"), ERR_DIGEST_INVALID);
    assert_int_equal(refused("alpine@latest"), ERR_DIGEST_INVALID);
    assert_int_equal(refused("alpine@sha256:abc"), ERR_DIGEST_INVALID);
    assert_int_equal(refused("alpine@blake3:" HEX), ERR_DIGEST_INVALID);
    assert_int_equal(refused("alpine@sha256:" HEX "@sha256:" HEX), ERR_DIGEST_INVALID);
    assert_int_equal(refused("@sha256:" HEX), ERR_NAME_INVALID);
    assert_int_equal(refused("sha256:" HEX), ERR_NAME_INVALID);
}

static void library_counts_towards_the_255_bytes(void **state)
{
    (void)state;
    char text[400] = "";
    letters(text, 247);
    text[247] = '\0';
    assert_int_equal(strlen(parsed(text).repository), 255);
    letters(text, 248);
    text[248] = '\0';
    assert_int_equal(refused(text), ERR_NAME_INVALID);
}

static void registries_are_canonical(void **state)
{
    (void)state;
    static const char *const aliases[] = {"docker.io", "index.docker.io", "registry-1.docker.io",
                                          "INDEX.Docker.io"};
    char out[256];
    for (size_t i = 0; i < COUNT(aliases); i++) {
        assert_true(reference_registry(slice_of(aliases[i]), out, sizeof(out)));
        assert_string_equal(out, "docker.io");
    }
    assert_true(reference_registry(slice_of("GHCR.IO:443"), out, sizeof(out)));
    assert_string_equal(out, "ghcr.io:443");
    assert_true(reference_registry(slice_of("plain"), out, sizeof(out)));
    assert_string_equal(out, "plain");
}

static void what_is_no_host_is_no_registry(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",      ".",       "..",          "-",      "a..b",        ".a",      "a.",
        "-a.b",  "a-.b",    "a_b",         "a/b",    "a b",         "a:",      ":5000",
        "a:0",   "a:65536", "a:080",       "a:8o",   "a:b:80",      "::1",     "[",
        "[]",    "[]:5000", "[::1",        "[::1]x", "[::1]:",      "[::1]:0", "[g::1]",
        "[1.2]", "a@b",     "user:p@host", "a%2eb",  "\xc3\xa9.io", "a\r\nb",
    };
    char out[256];
    for (size_t i = 0; i < COUNT(bad); i++) {
        memcpy(out, "before", 7);
        if (reference_registry(slice_of(bad[i]), out, sizeof(out)))
            fail_msg("\"%s\" is taken", bad[i]);
        assert_string_equal(out, "before");
    }
}

static void a_registry_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    char out[8] = "before";
    assert_false(reference_registry(slice_of("ghcr.io.x"), out, sizeof(out)));
    assert_false(reference_registry(slice_of("docker.io"), out, sizeof(out)));
    assert_string_equal(out, "before");
    assert_true(reference_registry(slice_of("GHCR.IO"), out, sizeof(out)));
    assert_string_equal(out, "ghcr.io");
}

static void the_fallback_tag_is_a_tag(void **state)
{
    (void)state;
    struct digest d;
    char tag[TAG_MAX + 1];
    assert_int_equal(digest_parse(slice_of("sha256:" HEX), &d), 1);
    reference_fallback_tag(&d, tag);
    assert_string_equal(tag, "sha256-" HEX);
    assert_int_equal(digest_parse(slice_of("sha512:" HEX HEX), &d), 1);
    reference_fallback_tag(&d, tag);
    assert_string_equal(tag, "sha512-" HEX);
    assert_true(reference_is_tag(slice_of(tag)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repositories_of_the_grammar_are_taken),
        cmocka_unit_test(other_repositories_are_refused),
        cmocka_unit_test(a_repository_has_at_most_255_bytes),
        cmocka_unit_test(tags_of_the_grammar_are_taken_and_others_refused),
        cmocka_unit_test(short_names_are_of_docker_io_and_its_library),
        cmocka_unit_test(a_first_part_with_a_dot_or_colon_is_the_registry),
        cmocka_unit_test(a_digest_stands_alone_or_beside_a_tag),
        cmocka_unit_test(malformed_names_are_refused_for_what_is_wrong),
        cmocka_unit_test(library_counts_towards_the_255_bytes),
        cmocka_unit_test(registries_are_canonical),
        cmocka_unit_test(what_is_no_host_is_no_registry),
        cmocka_unit_test(a_registry_that_does_not_fit_is_refused),
        cmocka_unit_test(the_fallback_tag_is_a_tag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
