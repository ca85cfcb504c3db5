/* SPDX-License-Identifier: Apache-2.0
 * contents: what a bundle may say of itself, and each thing that it may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"
#include "bundle/contents.h"

#define ONE "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define TWO "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define RECEIPT "\"receipt\":{\"site\":\"b\",\"created_at\":\"u\",\"digest\":\"" TWO "\"}"
#define FILES "\"files\":[{\"name\":\"oci-layout\",\"digest\":\"" TWO "\",\"size\":30}]"
#define TAGS "\"tags\":[{\"name\":\"1\",\"digest\":\"" ONE "\"}]"
#define MANIFESTS                                                                                  \
    "\"manifests\":[{\"digest\":\"" ONE "\",\"type\":\"application/"                               \
    "vnd.oci.image.index.v1+json\"}]"
#define BLOBS "\"blobs\":[{\"digest\":\"" ONE "\",\"size\":500}]"
#define ABSENT "\"absent\":[{\"digest\":\"" TWO "\",\"size\":7}]"

static const char good[] =
    "{\"schema\":\"tranship-bundle/"
    "1\",\"site\":\"a\",\"created_at\":\"t\",\"volume_size\":0," RECEIPT "," FILES
    ",\"repositories\":[{\"registry\":\"docker.io\",\"name\":\"library/a\"," TAGS "," MANIFESTS
    "}]," BLOBS "," ABSENT "}";

static void what_is_right_is_read(void **state)
{
    struct error e = {0};
    autocontents struct contents c = {0};
    (void)state;
    if (contents_parse(good, strlen(good), &c, &e) < 0)
        fail_msg("%s", e.text);
    assert_string_equal(c.site, "a");
    assert_string_equal(c.receipt_site, "b");
    assert_int_equal(c.file_count, 1);
    assert_int_equal(c.repository_count, 1);
    assert_int_equal(contents_tag_count(&c), 1);
    assert_int_equal(c.blobs.sizes[0], 500);
    assert_int_equal(c.absent.sizes[0], 7);
}

/* The good one with the first `from` replaced is refused with that text. */
static void check_refused(const char *from, const char *to, const char *text)
{
    struct error e = {0};
    struct contents c = {0};
    const char *at = strstr(good, from);
    assert_non_null(at);
    autofree char *bad = alloc_format("%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    if (contents_parse(bad, strlen(bad), &c, &e) == 0)
        fail_msg("was taken: %s", bad);
    assert_int_equal(e.kind, ERR_CORRUPT);
    if (!strstr(e.text, text))
        fail_msg("%s\nis not told as \"%s\" but: %s", bad, text, e.text);
    assert_null(c.repositories);
}

static void what_is_wrong_is_refused_with_its_reason(void **state)
{
    static const struct {
        const char *from, *to, *text;
    } cases[] = {
        {"bundle/1", "bundle/2", "the schema is not"},
        {"\"schema\"", "\"scheme\"", "but none"},
        {":0,", ":-1,", "no volume_size"},
        {"\"site\":\"a\",", "", "no site"},
        {"\"created_at\":\"t\",", "", "no created_at"},
        {"\"site\":\"b\",", "", "no site"},
        {RECEIPT, "\"receipt\":{\"site\":\"b\",\"created_at\":\"u\"}", "no digest"},
        {"\"oci-layout\"", "\"passwd\"", "none of a bundle's"},
        {FILES, "\"files\":[1]", "none of a bundle's"},
        {FILES, "\"files\":[1,2,3,4,5,6,7,8,9]", "too many files"},
        {"\"size\":30", "\"size\":-30", "no size"},
        {"\"size\":30", "\"size\":300000000000", "no size"},
        {"docker.io", "Docker.io", "this is no registry"},
        {"library/a", "Library/a", "this is no repository"},
        {"\"name\":\"1\"", "\"name\":\"-\"", "this is no tag"},
        {TAGS, "\"tags\":[{\"name\":\"1\",\"digest\":\"x\"}]", "no digest"},
        {TAGS, "\"tags\":[{\"name\":\"1\",\"digest\":\"" TWO "\"}]", "a tag of no manifest"},
        {"\"tags\":[", "\"tags\":[{\"name\":\"1\",\"digest\":\"" ONE "\"},", "a tag named twice"},
        {MANIFESTS, "\"manifests\":[{\"type\":\"\"}]", "no digest"},
        {MANIFESTS, "\"manifests\":[{\"digest\":\"" ONE "\"}]", "a manifest without a type"},
        {"image.index.v1+json", "image index", "a manifest without a type"},
        {BLOBS, "\"blobs\":[]", "a manifest that is not there"},
        {"\"size\":500", "\"size\":5000000000", "a manifest that is too large"},
        {"\"manifests\":[", "\"manifests\":[{\"digest\":\"" ONE "\",\"type\":\"\"},",
         "a manifest named twice"},
        {"\"repositories\":[",
         "\"repositories\":[{\"registry\":\"docker.io\",\"name\":\"library/a\"},",
         "a repository named twice"},
        {"\"blobs\":[", "\"blobs\":[{\"digest\":\"" ONE "\",\"size\":1},", "named twice"},
        {"\"blobs\":[", "\"blobs\":[{\"digest\":\"" TWO "\",\"size\":1},",
         "both there and left out"},
        {"\"size\":7", "\"size\":9223372036854775807", "no size"},
        {"{", "[", "bundle.json"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(cases[i].from, cases[i].to, cases[i].text);
}

static void what_is_no_object_or_beyond_all_bounds_is_refused(void **state)
{
    struct error e = {0};
    struct contents c = {0};
    (void)state;
    assert_int_equal(contents_parse("[]", 2, &c, &e), -1);
    assert_non_null(strstr(e.text, "no JSON object"));
    assert_int_equal(contents_parse("", CONTENTS_MAX_BYTES + 1, &c, &e), -1);
    assert_non_null(strstr(e.text, "larger than 32 MiB"));
}

/* Each of them might be; all together cannot. */
static void sizes_whose_sum_is_beyond_any_disk_are_refused(void **state)
{
    struct error e = {0};
    struct contents c = {0};
    autostr struct str text = {0};
    (void)state;
    str_add(&text, "{\"schema\":\"tranship-bundle/1\",\"site\":\"a\",\"created_at\":\"t\","
                   "\"volume_size\":0,\"blobs\":[");
    for (unsigned i = 0; i < 2; i++)
        str_format(&text, "%s{\"digest\":\"%s\",\"size\":%lld}", i ? "," : "", i ? TWO : ONE,
                   (long long)BLOB_MAX_BYTES);
    str_add(&text, "]}");
    assert_int_equal(contents_parse(text.text, text.length, &c, &e), -1);
    assert_non_null(strstr(e.text, "sizes beyond any disk"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_right_is_read),
        cmocka_unit_test(what_is_wrong_is_refused_with_its_reason),
        cmocka_unit_test(what_is_no_object_or_beyond_all_bounds_is_refused),
        cmocka_unit_test(sizes_whose_sum_is_beyond_any_disk_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
