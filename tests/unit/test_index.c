/* SPDX-License-Identifier: Apache-2.0
 * The index: what it finds again, what it refuses, and how it comes back from a broken file, a
 * kill, or nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "cache/index.h"
#include "data_folder.h"
#include "oci/manifest.h"

#define HUB "docker.io"
#define ALPINE "library/alpine"

struct opened {
    struct data_folder *folder;
    struct index *x;
    struct index_reader *r;
    bool rebuilt;
};

static void open_index(struct opened *o)
{
    struct error e = {0};
    o->x = index_open(o->folder->store, &o->rebuilt, &e);
    if (!o->x)
        fail_msg("%s", e.text);
    o->r = index_reader_open(o->x, &e);
    if (!o->r)
        fail_msg("%s", e.text);
}

static void close_index(struct opened *o)
{
    index_reader_close(o->r);
    index_close(o->x);
    o->x = NULL;
    o->r = NULL;
}

static int setup(void **state)
{
    struct opened *o = calloc(1, sizeof(*o));
    assert_non_null(o);
    folder_setup((void **)&o->folder);
    open_index(o);
    *state = o;
    return 0;
}

static int teardown(void **state)
{
    struct opened *o = *state;
    close_index(o);
    folder_teardown((void **)&o->folder);
    free(o);
    return 0;
}

static int find_blob(struct opened *o, const char *text, uint64_t *size)
{
    struct digest d = digest_of_text(text);
    return index_find_blob(o->r, &d, size, NULL);
}

/* --- rows ------------------------------------------------------------------------------------- */

static void absent_rows_are_absent_and_results_untouched(void **state)
{
    struct opened *o = *state;
    bool is_proven = false;
    struct digest d = digest_of_text("none");
    struct index_manifest manifest = {.media_type = "kept"};
    struct index_tag tag = {.checked_at = 7};
    uint64_t size = 7;
    int64_t held = 7, fetched_at = 7;
    char *body = NULL;
    size_t length = 7;
    assert_int_equal(index_find_blob(o->r, &d, &size, NULL), 0);
    assert_int_equal(index_find_manifest(o->r, &d, &manifest, NULL), 0);
    assert_int_equal(index_find_hold(o->r, HUB, ALPINE, &d, &held, &is_proven, NULL), 0);
    assert_int_equal(index_find_tag(o->r, HUB, ALPINE, "latest", &tag, NULL), 0);
    assert_int_equal(
        index_find_listing(o->r, HUB, ALPINE, "tags", "", &body, &length, &fetched_at, NULL), 0);
    assert_true(size == 7 && held == 7 && fetched_at == 7 && length == 7 && !body);
    assert_int_equal(tag.checked_at, 7);
    assert_string_equal(manifest.media_type, "kept");
}

static void blob_is_found_with_its_size_until_removed(void **state)
{
    struct opened *o = *state;
    struct digest d = digest_of_text("blob"), sha512;
    uint64_t size = 0;
    int64_t used_at = 7;
    digest_of(DIGEST_SHA512, "blob", 4, &sha512);
    WRITE(o, index_put_blob(o->x, &d, UINT64_C(1) << 40, 100, e));
    WRITE(o, index_put_blob(o->x, &sha512, 5, 100, e));
    assert_int_equal(index_find_blob(o->r, &d, &size, NULL), 1);
    assert_int_equal(size, UINT64_C(1) << 40);
    assert_int_equal(index_find_blob(o->r, &sha512, &size, NULL), 1);
    assert_int_equal(size, 5);
    WRITE(o, index_put_blob(o->x, &d, 9, 100, e));
    assert_int_equal(index_find_blob(o->r, &d, &size, NULL), 1);
    assert_int_equal(size, 9);
    assert_int_equal(index_find_blob_use(o->r, &d, &size, &used_at, NULL), 1);
    assert_int_equal(used_at, 0); /* it came, and that is no use */
    WRITE(o, index_touch(o->x, &d, 200, e));
    assert_int_equal(index_find_blob_use(o->r, &d, &size, &used_at, NULL), 1);
    assert_true(size == 9 && used_at == 200);
    WRITE(o, index_remove_blob(o->x, &d, e));
    assert_int_equal(index_find_blob(o->r, &d, &size, NULL), 0);
}

static void rows_of_a_rolled_back_transaction_are_gone(void **state)
{
    struct opened *o = *state;
    struct digest d = digest_of_text("blob");
    uint64_t size = 0;
    OK(index_begin(o->x, e));
    OK(index_put_blob(o->x, &d, 4, 100, e));
    assert_int_equal(index_find_blob(o->r, &d, &size, NULL), 0); /* readers see what is committed */
    index_rollback(o->x);
    index_rollback(o->x);
    OK(index_begin(o->x, e));
    OK(index_commit(o->x, e));
    assert_int_equal(index_find_blob(o->r, &d, &size, NULL), 0);
}

static void tag_moves_and_is_removed_and_belongs_to_its_repository(void **state)
{
    struct opened *o = *state;
    struct digest one = digest_of_text("1"), two = digest_of_text("2");
    struct index_tag tag;
    WRITE(o, index_put_tag(o->x, HUB, ALPINE, "latest", &one, 100, e));
    WRITE(o, index_put_tag(o->x, HUB, ALPINE, "latest", &two, 200, e));
    assert_int_equal(index_find_tag(o->r, HUB, ALPINE, "latest", &tag, NULL), 1);
    assert_true(digest_equals(&tag.digest, &two));
    assert_int_equal(tag.checked_at, 200);
    assert_int_equal(index_find_tag(o->r, "ghcr.io", ALPINE, "latest", &tag, NULL), 0);
    assert_int_equal(index_find_tag(o->r, HUB, "library/busybox", "latest", &tag, NULL), 0);
    assert_int_equal(index_find_tag(o->r, HUB, ALPINE, "LATEST", &tag, NULL), 0);
    WRITE(o, index_remove_tag(o->x, HUB, ALPINE, "latest", e));
    WRITE(o, index_remove_tag(o->x, "nowhere.example", ALPINE, "latest", e));
    assert_int_equal(index_find_tag(o->r, HUB, ALPINE, "latest", &tag, NULL), 0);
}

static void hold_learns_a_size_and_never_forgets_it(void **state)
{
    struct opened *o = *state;
    bool is_proven = false;
    struct digest d = digest_of_text("layer");
    int64_t size = 0;
    WRITE(o, index_put_hold(o->x, HUB, ALPINE, &d, -1, e));
    assert_int_equal(index_find_hold(o->r, HUB, ALPINE, &d, &size, &is_proven, NULL), 1);
    assert_int_equal(size, -1);
    WRITE(o, index_put_hold(o->x, HUB, ALPINE, &d, 50, e));
    WRITE(o, index_put_hold(o->x, HUB, ALPINE, &d, -1, e));
    assert_int_equal(index_find_hold(o->r, HUB, ALPINE, &d, &size, &is_proven, NULL), 1);
    assert_int_equal(size, 50);
    assert_int_equal(index_find_hold(o->r, HUB, "library/busybox", &d, &size, &is_proven, NULL), 0);
    assert_true(is_proven);
}

static void size_of_a_held_blob_wins_over_what_a_descriptor_says(void **state)
{
    struct opened *o = *state;
    bool is_proven = false;
    struct digest d = digest_of_text("layer");
    int64_t size = 0;
    WRITE(o, index_put_blob(o->x, &d, 5, 100, e));
    WRITE(o, index_put_hold(o->x, HUB, ALPINE, &d, 999, e));
    assert_int_equal(index_find_hold(o->r, HUB, ALPINE, &d, &size, &is_proven, NULL), 1);
    assert_int_equal(size, 5);
}

static void listing_keeps_its_bytes_whatever_they_are(void **state)
{
    struct opened *o = *state;
    char *body = NULL;
    size_t length = 0;
    int64_t at = 0;
    WRITE(o, index_put_listing(o->x, HUB, ALPINE, "tags", "", "old", 3, 100, e));
    WRITE(o, index_put_listing(o->x, HUB, ALPINE, "tags", "", "a\0b", 3, 200, e));
    WRITE(o, index_put_listing(o->x, HUB, ALPINE, "referrers", "sha256:1", NULL, 0, 300, e));
    assert_int_equal(index_find_listing(o->r, HUB, ALPINE, "tags", "", &body, &length, &at, NULL),
                     1);
    assert_int_equal(length, 3);
    assert_memory_equal(body, "a\0b", 4); /* terminated too */
    assert_int_equal(at, 200);
    free(body);
    assert_int_equal(
        index_find_listing(o->r, HUB, ALPINE, "referrers", "sha256:1", &body, &length, &at, NULL),
        1);
    assert_int_equal(length, 0);
    free(body);
}

/* --- manifests -------------------------------------------------------------------------------- */

static void parse(const char *text, struct manifest *m)
{
    struct error e = {0};
    if (manifest_parse(NULL, text, strlen(text), m, &e) < 0)
        fail_msg("%s", e.text);
}

/* A manifest's text with a config and a layer (digests of those words) and, unless NULL, a subject.
 */
static char *manifest_text(const char *config, const char *layer, const char *subject)
{
    char c[DIGEST_TEXT_MAX], l[DIGEST_TEXT_MAX], s[DIGEST_TEXT_MAX];
    struct digest cd = digest_of_text(config), ld = digest_of_text(layer);
    struct digest sd = digest_of_text(subject ? subject : "");
    char *tail = subject ? alloc_format(",\"subject\":{\"mediaType\":\"" MEDIA_OCI_MANIFEST
                                        "\",\"digest\":\"%s\",\"size\":7}",
                                        digest_print(&sd, s))
                         : alloc_string("");
    char *text = alloc_format(
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.example.config\","
        "\"digest\":\"%s\",\"size\":11},\"layers\":[{\"mediaType\":\"application/"
        "vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\",\"size\":22}],\"annotations\":"
        "{\"a\":\"b\"}%s}",
        digest_print(&cd, c), digest_print(&ld, l), tail);
    free(tail);
    return text;
}

static void put_manifest(struct opened *o, const char *text, const char *repository)
{
    struct manifest m;
    struct digest d = digest_of_text(text);
    parse(text, &m);
    WRITE(o, index_put_blob(o->x, &d, strlen(text), 100, e));
    WRITE(o, index_put_manifest(o->x, &d, &m, repository ? HUB : NULL, repository, e));
    manifest_fini(&m);
}

static void manifest_gives_its_repository_itself_and_its_children_but_not_its_subject(void **state)
{
    struct opened *o = *state;
    bool is_proven = false;
    char *text = manifest_text("config", "layer", "subject");
    struct digest d = digest_of_text(text), config = digest_of_text("config"),
                  layer = digest_of_text("layer"), subject = digest_of_text("subject");
    struct index_manifest found;
    int64_t size = 0;
    put_manifest(o, text, ALPINE);
    put_manifest(o, text, ALPINE);
    assert_int_equal(index_find_manifest(o->r, &d, &found, NULL), 1);
    assert_string_equal(found.media_type, MEDIA_OCI_MANIFEST);
    assert_int_equal(index_find_hold(o->r, HUB, ALPINE, &d, &size, &is_proven, NULL), 1);
    assert_int_equal(size, strlen(text));
    assert_true(is_proven);
    assert_int_equal(index_find_hold(o->r, HUB, ALPINE, &config, &size, &is_proven, NULL), 1);
    assert_false(is_proven);
    assert_int_equal(size, 11);
    assert_int_equal(index_find_hold(o->r, HUB, ALPINE, &layer, &size, &is_proven, NULL), 1);
    assert_int_equal(size, 22);
    assert_false(is_proven);
    WRITE(o, index_put_hold(o->x, HUB, ALPINE, &layer, -1, e));
    put_manifest(o, text, ALPINE);
    assert_int_equal(index_find_hold(o->r, HUB, ALPINE, &layer, &size, &is_proven, NULL), 1);
    assert_true(is_proven);
    assert_int_equal(size, 22);
    assert_int_equal(index_find_hold(o->r, HUB, ALPINE, &subject, &size, &is_proven, NULL), 0);
    assert_int_equal(index_find_hold(o->r, HUB, "library/busybox", &layer, &size, &is_proven, NULL),
                     0);
    WRITE(o, index_remove_blob(o->x, &d, e));
    assert_int_equal(index_find_manifest(o->r, &d, &found, NULL), 0);
    free(text);
}

static bool count_referrer(const struct digest *d, uint64_t size_bytes, const char *media_type,
                           const char *artifact_type, const char *annotations, void *cls)
{
    (void)d;
    int *count = cls;
    assert_true(size_bytes > 100);
    assert_string_equal(media_type, MEDIA_OCI_MANIFEST);
    assert_string_equal(artifact_type, "application/vnd.example.config");
    assert_string_equal(annotations, "{\"a\":\"b\"}");
    return ++*count < 2;
}

static void referrers_are_those_of_the_repository_that_are_still_held(void **state)
{
    struct opened *o = *state;
    struct digest subject = digest_of_text("image");
    int count = 0;
    char *texts[3];
    for (int i = 0; i < 3; i++) {
        char layer[16];
        snprintf(layer, sizeof(layer), "signature %d", i);
        texts[i] = manifest_text("config", layer, "image");
        put_manifest(o, texts[i], i == 2 ? "library/busybox" : ALPINE);
    }
    assert_int_equal(index_each_referrer(o->r, HUB, ALPINE, &subject, count_referrer, &count, NULL),
                     2);
    assert_int_equal(count, 2);
    struct digest first = digest_of_text(texts[0]);
    WRITE(o, index_remove_blob(o->x, &first, e));
    count = 0;
    assert_int_equal(index_each_referrer(o->r, HUB, ALPINE, &subject, count_referrer, &count, NULL),
                     1);
    assert_int_equal(count, 1);
    for (int i = 0; i < 3; i++)
        free(texts[i]);
}

/* --- listings --------------------------------------------------------------------------------- */

struct names {
    char joined[300];
    int stop_after;
};

static bool add_name(const char *name, void *cls)
{
    struct names *n = cls;
    snprintf(n->joined + strlen(n->joined), sizeof(n->joined) - strlen(n->joined), "%s ", name);
    return --n->stop_after != 0;
}

static bool add_repository(const char *registry, const char *name, void *cls)
{
    char both[200];
    snprintf(both, sizeof(both), "%s/%s", registry, name);
    return add_name(both, cls);
}

static void expect_tags(struct opened *o, const char *last, size_t max, const char *joined,
                        int count)
{
    struct names n = {0};
    assert_int_equal(index_each_tag(o->r, HUB, ALPINE, last, max, add_name, &n, NULL), count);
    assert_string_equal(n.joined, joined);
}

static void tags_come_in_byte_order_after_the_last_one(void **state)
{
    struct opened *o = *state;
    struct digest d = digest_of_text("1");
    const char *tags[] = {"b", "B", "a", "10", "9", "a.1", "_x"};
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
        WRITE(o, index_put_tag(o->x, HUB, ALPINE, tags[i], &d, 100, e));
    WRITE(o, index_put_tag(o->x, HUB, "library/busybox", "other", &d, 100, e));
    expect_tags(o, "", SIZE_MAX, "10 9 B _x a a.1 b ", 7);
    expect_tags(o, "B", 2, "_x a ", 2);
    expect_tags(o, "aa", SIZE_MAX, "b ", 1); /* "last" need not be a tag */
    expect_tags(o, "b", SIZE_MAX, "", 0);
    expect_tags(o, "", 0, "", 0);
    struct names n = {.stop_after = 2};
    assert_int_equal(index_each_tag(o->r, HUB, ALPINE, "", SIZE_MAX, add_name, &n, NULL), 2);
    assert_string_equal(n.joined, "10 9 ");
}

static void repositories_are_those_with_a_tag_or_a_manifest(void **state)
{
    struct opened *o = *state;
    struct digest d = digest_of_text("1");
    struct names all = {0}, after = {0};
    char *text = manifest_text("config", "layer", NULL);
    WRITE(o, index_put_tag(o->x, "ghcr.io", "a/tagged", "v1", &d, 100, e));
    WRITE(o, index_put_hold(o->x, HUB, "only/layers", &d, 1, e));
    WRITE(o, index_put_tag(o->x, HUB, "z/tagged", "v1", &d, 100, e));
    put_manifest(o, text, "library/manifested");
    assert_int_equal(index_each_repository(o->r, "", "", 10, add_repository, &all, NULL), 3);
    assert_string_equal(all.joined,
                        "docker.io/library/manifested docker.io/z/tagged ghcr.io/a/tagged ");
    assert_int_equal(
        index_each_repository(o->r, HUB, "library/manifested", 10, add_repository, &after, NULL),
        2);
    assert_string_equal(after.joined, "docker.io/z/tagged ghcr.io/a/tagged ");
    free(text);
}

/* --- pins ------------------------------------------------------------------------------------- */

static void two_pins_of_a_name_are_one(void **state)
{
    struct opened *o = *state;
    struct digest d = digest_of_text("image");
    char digest[DIGEST_TEXT_MAX];
    digest_print(&d, digest);
    OK(index_begin(o->x, e));
    assert_int_equal(index_put_pin(o->x, HUB, ALPINE, "3.20", 100, NULL), 1);
    assert_int_equal(index_put_pin(o->x, HUB, ALPINE, "3.20", 200, NULL), 0);
    assert_int_equal(index_put_pin(o->x, HUB, ALPINE, digest, 300, NULL), 1);
    assert_int_equal(index_put_pin(o->x, "ghcr.io", "a/b", "3.20", 400, NULL), 1);
    assert_int_equal(index_is_pinned(o->x, &d, NULL), 1);
    assert_int_equal(index_remove_pin(o->x, HUB, ALPINE, "3.20", NULL), 1);
    assert_int_equal(index_remove_pin(o->x, HUB, ALPINE, "3.20", NULL), 0);
    assert_int_equal(index_remove_pin(o->x, "ghcr.io", "a/b", "3.20", NULL), 1);
    assert_int_equal(index_remove_pin(o->x, HUB, ALPINE, digest, NULL), 1);
    assert_int_equal(index_is_pinned(o->x, &d, NULL), 0);
    OK(index_commit(o->x, e));
}

static void pin_that_is_no_digest_is_refused(void **state)
{
    struct opened *o = *state;
    struct error why = {0};
    OK(index_begin(o->x, e));
    assert_int_equal(index_put_pin(o->x, HUB, ALPINE, "sha256:12", 100, &why), -1);
    assert_int_equal(why.kind, ERR_DIGEST_INVALID);
    index_rollback(o->x);
}

static void pinned_is_what_the_tag_means_now_and_what_the_digest_names(void **state)
{
    struct opened *o = *state;
    struct digest old = digest_of_text("old"), new = digest_of_text("new");
    char digest[DIGEST_TEXT_MAX];
    WRITE(o, index_put_tag(o->x, HUB, ALPINE, "3.20", &old, 100, e));
    assert_int_equal(index_is_pinned(o->x, &old, NULL), 0);
    WRITE(o, index_put_pin(o->x, HUB, ALPINE, "3.20", 100, e));
    assert_int_equal(index_is_pinned(o->x, &old, NULL), 1);
    WRITE(o, index_put_tag(o->x, HUB, ALPINE, "3.20", &new, 200, e));
    assert_int_equal(index_is_pinned(o->x, &old, NULL), 0);
    assert_int_equal(index_is_pinned(o->x, &new, NULL), 1);
    WRITE(o, index_put_pin(o->x, "ghcr.io", "a/b", digest_print(&old, digest), 300, e));
    assert_int_equal(index_is_pinned(o->x, &old, NULL), 1);
}

/* --- files and rows --------------------------------------------------------------------------- */

static void file_without_a_row_is_adopted(void **state)
{
    struct opened *o = *state;
    uint64_t size = 0;
    close_index(o);
    hold_text(o->folder, "published just before a kill");
    open_index(o);
    assert_false(o->rebuilt);
    assert_int_equal(find_blob(o, "published just before a kill", &size), 1);
    assert_int_equal(size, 28);
}

static void row_without_a_file_is_dropped(void **state)
{
    struct opened *o = *state;
    struct digest gone = digest_of_text("gone");
    uint64_t size = 0;
    hold_text(o->folder, "here");
    struct digest here = digest_of_text("here");
    WRITE(o, index_put_blob(o->x, &gone, 4, 100, e));
    WRITE(o, index_put_blob(o->x, &here, 4, 100, e));
    close_index(o);
    open_index(o);
    assert_int_equal(find_blob(o, "gone", &size), 0);
    assert_int_equal(find_blob(o, "here", &size), 1);
}

/* Every third only as a row, every third only as a file, every third as both; of both algorithms.
 */
static void many_files_and_rows_come_to_agree(void **state)
{
    struct opened *o = *state;
    enum { MANY = 300 };
    OK(index_begin(o->x, e));
    for (int i = 0; i < MANY; i++) {
        char text[32];
        struct digest d;
        snprintf(text, sizeof(text), "blob %d", i);
        digest_of(i % 2 ? DIGEST_SHA256 : DIGEST_SHA512, text, strlen(text), &d);
        if (i % 3 != 0)
            OK(store_publish_bytes(o->folder->store, &d, text, strlen(text), e));
        if (i % 3 != 1)
            OK(index_put_blob(o->x, &d, strlen(text), 100, e));
    }
    OK(index_commit(o->x, e));
    close_index(o);
    open_index(o);
    for (int i = 0; i < MANY; i++) {
        char text[32];
        struct digest d;
        uint64_t size = 0;
        snprintf(text, sizeof(text), "blob %d", i);
        digest_of(i % 2 ? DIGEST_SHA256 : DIGEST_SHA512, text, strlen(text), &d);
        assert_int_equal(index_find_blob(o->r, &d, &size, NULL), i % 3 != 0);
        if (i % 3 != 0)
            assert_int_equal(size, strlen(text));
    }
}

static void manifests_among_adopted_files_are_told_from_other_json(void **state)
{
    struct opened *o = *state;
    struct index_manifest found;
    char *image = manifest_text("config", "layer", NULL);
    const char *others[] = {
        "{\"architecture\":\"amd64\",\"config\":{},\"rootfs\":{\"type\":\"layers\"}}",
        "{\"mediaType\":\"application/json\",\"manifests\":[]}",
        "{\"manifests\":[],\"layers\":[],\"config\":{}}",
        "{ broken",
        "[1,2]",
        "{",
        "",
    };
    const char *list = "{\"schemaVersion\":2,\"manifests\":[]}";
    const char *typed =
        "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_DOCKER_LIST "\",\"manifests\":[]}";
    close_index(o);
    hold_text(o->folder, image);
    hold_text(o->folder, list);
    hold_text(o->folder, typed);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        hold_text(o->folder, others[i]);
    open_index(o);

    struct digest d = digest_of_text(image);
    assert_int_equal(index_find_manifest(o->r, &d, &found, NULL), 1);
    assert_string_equal(found.media_type, MEDIA_OCI_MANIFEST);
    d = digest_of_text(list);
    assert_int_equal(index_find_manifest(o->r, &d, &found, NULL), 1);
    assert_string_equal(found.media_type, MEDIA_OCI_INDEX);
    d = digest_of_text(typed);
    assert_int_equal(index_find_manifest(o->r, &d, &found, NULL), 1);
    assert_string_equal(found.media_type, MEDIA_DOCKER_LIST);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        uint64_t size = 0;
        d = digest_of_text(others[i]);
        assert_int_equal(index_find_manifest(o->r, &d, &found, NULL), 0);
        assert_int_equal(index_find_blob(o->r, &d, &size, NULL), 1);
        assert_int_equal(size, strlen(others[i]));
    }
    free(image);
}

static void adopted_manifest_gives_no_repository_anything(void **state)
{
    struct opened *o = *state;
    struct names n = {0};
    char *text = manifest_text("config", "layer", NULL);
    close_index(o);
    hold_text(o->folder, text);
    open_index(o);
    assert_int_equal(index_each_repository(o->r, "", "", 10, add_repository, &n, NULL), 0);
    free(text);
}

/* --- broken files ----------------------------------------------------------------------------- */

static void rows_outlive_the_process(void **state)
{
    struct opened *o = *state;
    struct digest d = digest_of_text("1");
    struct index_tag tag;
    WRITE(o, index_put_tag(o->x, HUB, ALPINE, "latest", &d, 100, e));
    close_index(o);
    open_index(o);
    assert_false(o->rebuilt);
    assert_int_equal(index_find_tag(o->r, HUB, ALPINE, "latest", &tag, NULL), 1);
}

static void rubbish_in_place_of_the_index_is_set_aside_and_rows_come_back(void **state)
{
    struct opened *o = *state;
    uint64_t size = 0;
    char path[400], text[400];
    close_index(o);
    hold_text(o->folder, "still here");
    write_file(folder_path_of(o->folder, "tranship.db.broken", path), "an older one");
    write_file(folder_path_of(o->folder, "tranship.db-wal", path), "stale");
    write_file(folder_path_of(o->folder, "tranship.db", path), "no database, but long enough: ...");
    open_index(o);
    assert_true(o->rebuilt);
    assert_int_equal(find_blob(o, "still here", &size), 1);
    folder_path_of(o->folder, "tranship.db.broken", path);
    assert_string_equal(read_text(path, text), "no database, but long enough: ...");
    close_index(o);
    open_index(o);
    assert_false(o->rebuilt);
}

static void index_with_overwritten_pages_is_set_aside(void **state)
{
    struct opened *o = *state;
    uint64_t size = 0;
    char path[400], junk[4096];
    struct stat st;
    hold_text(o->folder, "still here");
    close_index(o);
    folder_path_of(o->folder, "tranship.db", path);
    assert_int_equal(stat(path, &st), 0);
    memset(junk, 0xa5, sizeof(junk));
    int fd = open(path, O_WRONLY);
    for (off_t at = 4096; at < st.st_size; at += 4096) /* all but the first page */
        assert_int_equal(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
    close(fd);
    open_index(o);
    assert_true(o->rebuilt);
    assert_int_equal(find_blob(o, "still here", &size), 1);
}

static void truncated_index_is_set_aside(void **state)
{
    struct opened *o = *state;
    char path[400];
    close_index(o);
    assert_int_equal(truncate(folder_path_of(o->folder, "tranship.db", path), 3000), 0);
    open_index(o);
    assert_true(o->rebuilt);
}

static struct digest digest_of_number(int i)
{
    char text[32];
    snprintf(text, sizeof(text), "blob %d", i);
    return digest_of_text(text);
}

/* As a block that the disk cannot read, too: through a mapping it would be a signal. */
static void index_cut_short_under_a_reader_is_an_error_of_its_queries(void **state)
{
    struct opened *o = *state;
    enum { MANY = 1000 };
    char path[400];
    uint64_t size = 0;
    int failed = 0;
    struct digest d;
    OK(index_begin(o->x, e));
    for (int i = 0; i < MANY; i++) {
        d = digest_of_number(i);
        OK(index_put_blob(o->x, &d, 1, 100, e));
    }
    OK(index_commit(o->x, e));
    close_index(o); /* all of it is in the file now */
    o->x = index_open_sound(o->folder->store, NULL);
    assert_non_null(o->x);
    o->r = index_reader_open(o->x, NULL);
    assert_non_null(o->r);
    /* A log with something in it tells SQLite how long the file is. */
    d = digest_of_number(0);
    WRITE(o, index_touch(o->x, &d, 200, e));
    for (int i = 0; i < 3; i++) {
        d = digest_of_number(i);
        assert_int_equal(index_find_blob(o->r, &d, &size, NULL), 1);
    }
    assert_int_equal(truncate(folder_path_of(o->folder, "tranship.db", path), 4096), 0);
    for (int i = 0; i < MANY; i++) {
        d = digest_of_number(i);
        failed += index_find_blob(o->r, &d, &size, NULL) < 0;
    }
    assert_true(failed > 0);
}

static void run_sql(struct opened *o, const char *text)
{
    sqlite3 *handle = NULL;
    char path[400];
    assert_int_equal(sqlite3_open(folder_path_of(o->folder, "tranship.db", path), &handle), 0);
    assert_int_equal(sqlite3_exec(handle, text, NULL, NULL, NULL), 0);
    sqlite3_close(handle);
}

static void database_of_another_program_is_set_aside(void **state)
{
    struct opened *o = *state;
    char path[400];
    close_index(o);
    assert_int_equal(unlink(folder_path_of(o->folder, "tranship.db", path)), 0);
    run_sql(o, "CREATE TABLE blob (something INTEGER); PRAGMA user_version = 1");
    open_index(o);
    assert_true(o->rebuilt);
}

static void index_of_a_later_version_is_refused_and_left_as_it_is(void **state)
{
    struct opened *o = *state;
    struct error e = {0};
    bool rebuilt = false;
    char path[400];
    close_index(o);
    run_sql(o, "PRAGMA user_version = 99");
    assert_null(index_open(o->folder->store, &rebuilt, &e));
    assert_int_equal(e.kind, ERR_USAGE);
    assert_non_null(strstr(e.text, "99"));
    assert_non_null(strstr(e.text, "up to 7"));
    assert_false(path_exists(folder_path_of(o->folder, "tranship.db.broken", path)));
    run_sql(o, "PRAGMA user_version = 7");
    open_index(o);
    assert_false(o->rebuilt);
}

static void index_of_version_1_is_brought_up_with_its_rows(void **state)
{
    struct opened *o = *state;
    struct digest d = digest_of_text("layer");
    int64_t size = 0;
    bool is_proven = false;
    WRITE(o, index_put_hold(o->x, HUB, ALPINE, &d, 50, e));
    close_index(o);
    run_sql(
        o,
        "DROP TABLE scrub; DROP TABLE pin; DROP INDEX blob_turn; ALTER TABLE blob DROP COLUMN turn;"
        "ALTER TABLE blob DROP COLUMN used; ALTER TABLE blob DROP COLUMN hits;"
        "ALTER TABLE repository DROP COLUMN is_imported;"
        "DROP INDEX holds_digest; DROP INDEX tag_digest;"
        "ALTER TABLE holds DROP COLUMN proven; PRAGMA user_version = 1");
    open_index(o);
    assert_false(o->rebuilt);
    assert_int_equal(index_find_hold(o->r, HUB, ALPINE, &d, &size, &is_proven, NULL), 1);
    assert_int_equal(size, 50);
    assert_true(is_proven);
}

static void lost_index_is_made_anew(void **state)
{
    struct opened *o = *state;
    uint64_t size = 0;
    char path[400];
    close_index(o);
    hold_text(o->folder, "still here");
    assert_int_equal(unlink(folder_path_of(o->folder, "tranship.db", path)), 0);
    open_index(o);
    assert_int_equal(find_blob(o, "still here", &size), 1);
}

static void who_serves_opens_at_once_and_knows_all_after_the_steps(void **state)
{
    struct opened *o = *state;
    struct error why = {0};
    uint64_t size = 0;
    char path[400];
    unsigned steps = 0;
    int got;
    close_index(o);
    for (unsigned i = 0; i < 1000; i++) {
        char text[32];
        snprintf(text, sizeof text, "blob %u", i);
        hold_text(o->folder, text);
    }
    assert_int_equal(unlink(folder_path_of(o->folder, "tranship.db", path)), 0);
    o->x = index_open_serving(o->folder->store, &why);
    assert_non_null(o->x);
    o->r = index_reader_open(o->x, &why);
    assert_true(index_is_behind(o->r));
    assert_int_equal(find_blob(o, "blob 999", &size), 0);
    while ((got = index_step(o->x, &why)) == 1)
        steps++;
    assert_int_equal(got, 0);
    assert_true(steps > 1);
    assert_false(index_is_behind(o->r));
    for (unsigned i = 0; i < 1000; i++) {
        char text[32];
        snprintf(text, sizeof text, "blob %u", i);
        assert_int_equal(find_blob(o, text, &size), 1);
    }
    assert_int_equal(index_step(o->x, &why), 0);
}

static void what_goes_and_comes_between_the_steps_is_told_as_it_is(void **state)
{
    struct opened *o = *state;
    struct error why = {0};
    struct digest gone = digest_of_text("gone"), back = digest_of_text("back");
    uint64_t size = 0;
    char path[400];
    WRITE(o, index_put_blob(o->x, &back, 4, 100, e)); /* a row without a file */
    close_index(o);
    hold_text(o->folder, "gone");
    hold_text(o->folder, "stays");
    o->x = index_open_serving(o->folder->store, &why);
    o->r = index_reader_open(o->x, &why);
    assert_int_equal(unlink(blob_path(o->folder, &gone, path)), 0);
    hold_text(o->folder, "back");
    while (index_step(o->x, &why) == 1)
        ;
    assert_int_equal(find_blob(o, "gone", &size), 0);
    assert_int_equal(find_blob(o, "stays", &size), 1);
    assert_int_equal(find_blob(o, "back", &size), 1);
    assert_int_equal(unlink(blob_path(o->folder, &back, path)), 0);
    assert_int_equal(index_compare(o->x, &why), 0);
    while (index_step(o->x, &why) == 1)
        ;
    assert_int_equal(index_agreed(o->x).adopted, 0);
    assert_int_equal(index_agreed(o->x).lost, 1);
}

static void index_of_a_later_version_is_set_aside_by_who_serves(void **state)
{
    struct opened *o = *state;
    struct error why = {0};
    char path[400];
    close_index(o);
    run_sql(o, "PRAGMA user_version = 99");
    assert_null(index_open_sound(o->folder->store, &why));
    assert_int_equal(why.kind, ERR_USAGE);
    o->x = index_open_serving(o->folder->store, &why);
    assert_non_null(o->x);
    o->r = index_reader_open(o->x, &why);
    assert_true(path_exists(folder_path_of(o->folder, "tranship.db.later", path)));
}

struct nested {
    struct opened *o;
    unsigned count;
};

/* The file changes while a reader is among its rows. */
static bool mend_and_look(const char *tag, void *cls)
{
    struct nested *n = cls;
    struct index_tag found;
    struct error why = {0};
    char path[400];
    if (n->count++ == 0) {
        assert_int_equal(unlink(folder_path_of(n->o->folder, "tranship.db", path)), 0);
        assert_int_equal(index_mend(n->o->x, NULL, &why), 0);
    }
    assert_int_equal(index_find_tag(n->o->r, HUB, ALPINE, tag, &found, &why), 1);
    return true;
}

static void readers_follow_the_file_that_was_written_again(void **state)
{
    struct opened *o = *state;
    struct nested n = {.o = o};
    struct digest d = digest_of_text("1");
    struct index_tag found;
    struct error why = {0};
    char path[400];
    WRITE(o, index_put_tag(o->x, HUB, ALPINE, "a", &d, 100, e));
    WRITE(o, index_put_tag(o->x, HUB, ALPINE, "b", &d, 100, e));
    assert_int_equal(index_mend(o->x, NULL, &why), 0); /* nothing to do */
    assert_int_equal(index_each_tag(o->r, HUB, ALPINE, "", 10, mend_and_look, &n, &why), 2);
    assert_true(path_exists(folder_path_of(o->folder, "tranship.db", path)));
    WRITE(o, index_put_tag(o->x, HUB, ALPINE, "c", &d, 100, e));
    assert_int_equal(index_find_tag(o->r, HUB, ALPINE, "c", &found, &why), 1);
    close_index(o);
    open_index(o);
    assert_false(o->rebuilt);
    assert_int_equal(index_find_tag(o->r, HUB, ALPINE, "a", &found, &why), 1);
    assert_int_equal(index_find_tag(o->r, HUB, ALPINE, "c", &found, &why), 1);
}

static void index_that_was_called_broken_and_is_sound_keeps_its_tags(void **state)
{
    struct opened *o = *state;
    struct digest d = digest_of_text("1");
    struct index_tag found;
    struct error why = {0};
    char path[400];
    const struct error broken = {.kind = ERR_CORRUPT, .text = "a read failed"};
    WRITE(o, index_put_tag(o->x, HUB, ALPINE, "a", &d, 100, e));
    assert_int_equal(index_mend(o->x, &broken, &why), 0);
    assert_false(path_exists(folder_path_of(o->folder, "tranship.db.broken", path)));
    assert_int_equal(index_find_tag(o->r, HUB, ALPINE, "a", &found, &why), 1);
    WRITE(o, index_put_tag(o->x, HUB, ALPINE, "b", &d, 100, e));
    assert_int_equal(index_find_tag(o->r, HUB, ALPINE, "b", &found, &why), 1);
}

static void stranger_who_locks_the_index_makes_writing_busy_not_broken(void **state)
{
    struct opened *o = *state;
    struct error busy = {0};
    sqlite3 *stranger = NULL;
    char path[400];
    assert_int_equal(sqlite3_open(folder_path_of(o->folder, "tranship.db", path), &stranger), 0);
    assert_int_equal(sqlite3_exec(stranger, "BEGIN IMMEDIATE", NULL, NULL, NULL), 0);
    assert_int_equal(index_begin(o->x, &busy), -1);
    assert_int_equal(busy.kind, ERR_BUSY);
    index_rollback(o->x);
    assert_int_equal(sqlite3_exec(stranger, "ROLLBACK", NULL, NULL, NULL), 0);
    sqlite3_close(stranger);
    OK(index_begin(o->x, e));
    OK(index_commit(o->x, e));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(absent_rows_are_absent_and_results_untouched),
        T(blob_is_found_with_its_size_until_removed),
        T(rows_of_a_rolled_back_transaction_are_gone),
        T(tag_moves_and_is_removed_and_belongs_to_its_repository),
        T(hold_learns_a_size_and_never_forgets_it),
        T(size_of_a_held_blob_wins_over_what_a_descriptor_says),
        T(listing_keeps_its_bytes_whatever_they_are),
        T(manifest_gives_its_repository_itself_and_its_children_but_not_its_subject),
        T(referrers_are_those_of_the_repository_that_are_still_held),
        T(tags_come_in_byte_order_after_the_last_one),
        T(repositories_are_those_with_a_tag_or_a_manifest),
        T(two_pins_of_a_name_are_one),
        T(pin_that_is_no_digest_is_refused),
        T(pinned_is_what_the_tag_means_now_and_what_the_digest_names),
        T(file_without_a_row_is_adopted),
        T(row_without_a_file_is_dropped),
        T(many_files_and_rows_come_to_agree),
        T(manifests_among_adopted_files_are_told_from_other_json),
        T(adopted_manifest_gives_no_repository_anything),
        T(rows_outlive_the_process),
        T(rubbish_in_place_of_the_index_is_set_aside_and_rows_come_back),
        T(index_with_overwritten_pages_is_set_aside),
        T(truncated_index_is_set_aside),
        T(index_cut_short_under_a_reader_is_an_error_of_its_queries),
        T(database_of_another_program_is_set_aside),
        T(index_of_a_later_version_is_refused_and_left_as_it_is),
        T(index_of_version_1_is_brought_up_with_its_rows),
        T(lost_index_is_made_anew),
        T(who_serves_opens_at_once_and_knows_all_after_the_steps),
        T(what_goes_and_comes_between_the_steps_is_told_as_it_is),
        T(index_of_a_later_version_is_set_aside_by_who_serves),
        T(readers_follow_the_file_that_was_written_again),
        T(index_that_was_called_broken_and_is_sound_keeps_its_tags),
        T(stranger_who_locks_the_index_makes_writing_busy_not_broken),
    };
    log_configure(LOG_LEVEL_OFF, LOG_FORMAT_TEXT);
    return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
