/* SPDX-License-Identifier: Apache-2.0
 * import: whatever is done to a signed bundle, it is refused, and content and index stay as they
 * were. In one process, so that there can be many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "bundle/admit.h"
#include "bundle/export.h"
#include "bundle/import.h"
#include "cache/index.h"
#include "cache/store.h"
#include "data_folder.h"
#include "mirror/mirror.h"
#include "oci/manifest.h"
#include "oci/signature.h"

#define HARMS 1000
#define MANY 4000 /* blobs: more than one step looks at */
#define HUB "docker.io"

struct sides {
    struct data_folder *open, *closed;
    char *private, *public;
    char *bundle; /* its bytes */
    size_t length;
    char path[100]; /* of the file under test */
};

static void put_blob(struct data_folder *f, struct index *x, const char *text, struct error *e)
{
    char path[400];
    struct digest d = digest_of_text(text);
    write_file(blob_path(f, &d, path), text); /* many, so nothing is waited for */
    index_put_blob(x, &d, strlen(text), 1, e);
}

static void add_descriptor(struct str *out, const char *type, const char *content)
{
    char text[DIGEST_TEXT_MAX];
    struct digest d = digest_of_text(content);
    str_format(out,
               "{\"mediaType\":\"application/vnd.oci.image.%s\",\"digest\":\"%s\",\"size\":%zu}",
               type, digest_print(&d, text), strlen(content));
}

/* The content of layer i of an image of several. */
static const char *layer_text(const char *layer, size_t i, char out[100])
{
    snprintf(out, 100, i ? "%s, %zu" : "%s", layer, i);
    return out;
}

/* library/NAME:1 of so many layers. */
static void put_image(struct data_folder *f, const char *name, const char *layer, size_t layers)
{
    struct error e = {0};
    struct manifest m;
    bool rebuilt;
    char one[100];
    autofree char *repository = alloc_format("library/%s", name);
    autostr struct str s = {0};
    str_add(&s, "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"config\":");
    add_descriptor(&s, "config.v1+json", "{}");
    for (size_t i = 0; i < layers; i++) {
        str_add(&s, i ? "," : ",\"layers\":[");
        add_descriptor(&s, "layer.v1.tar", layer_text(layer, i, one));
    }
    str_add(&s, "]}");
    const char *text = str_text(&s);
    struct index *x = index_open(f->store, &rebuilt, &e);
    assert_non_null(x);
    assert_int_equal(manifest_parse(NULL, text, strlen(text), &m, &e), 0);
    assert_int_equal(index_begin(x, &e), 0);
    put_blob(f, x, "{}", &e);
    for (size_t i = 0; i < layers; i++)
        put_blob(f, x, layer_text(layer, i, one), &e);
    put_blob(f, x, text, &e);
    struct digest d = digest_of_text(text);
    assert_int_equal(index_put_manifest(x, &d, &m, HUB, repository, &e), 0);
    assert_int_equal(index_put_tag(x, HUB, repository, "1", &d, 1, &e), 0);
    assert_int_equal(index_commit(x, &e), 0);
    manifest_fini(&m);
    index_close(x);
}

static void write_bundle(struct sides *s)
{
    struct error e = {0};
    struct export_result done;
    struct index_reader *r = index_reader_open_beside(s->open->store, &e);
    const struct export_options o = {.select = {.is_all = true, .has_referrers = true},
                                     .output = s->path,
                                     .site = "open",
                                     .private_pem = slice_of(s->private)};
    if (export_write(&o, s->open->store, r, &done, &e) < 0)
        fail_msg("%s", e.text);
    index_reader_close(r);
    free(s->bundle);
    assert_int_equal(file_read(AT_FDCWD, s->path, 16 << 20, &s->bundle, &s->length, &e), 1);
}

static int setup(void **state)
{
    char path[400];
    struct sides *s = calloc(1, sizeof *s);
    struct error e = {0};
    assert_non_null(s);
    folder_setup((void **)&s->open);
    folder_setup((void **)&s->closed);
    snprintf(s->path, sizeof s->path, "%s/bundle", s->open->path);
    assert_int_equal(signature_generate(&s->private, &s->public, &e), 0);
    put_image(s->open, "new", "a layer of the open side", 1);
    put_image(s->closed, "old", "what was here before", 1);
    write_bundle(s);
    folder_close_store(s->closed);
    close(file_open_folder(AT_FDCWD, folder_path_of(s->closed, "import", path), true, &e));
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct sides *s = *state;
    folder_teardown((void **)&s->open);
    folder_teardown((void **)&s->closed);
    free(s->private);
    free(s->public);
    free(s->bundle);
    free(s);
    return 0;
}

static int bring_in(struct sides *s, const char *bytes, size_t length, struct error *e)
{
    struct import_result result;
    const struct import_options o = {
        .data = s->closed->path, .budget_bytes = -1, .public_pem = slice_of(s->public)};
    assert_int_equal(file_replace(AT_FDCWD, s->path, bytes, length, false, e), 0);
    return import_take(&o, s->path, &result, e);
}

/* Everything that a refusal must leave as it was. */
static struct digest state_of(struct sides *s)
{
    struct digest d;
    char path[400];
    size_t length = 0;
    autofree char *bytes = NULL;
    struct error e = {0};
    assert_int_equal(file_read(AT_FDCWD, folder_path_of(s->closed, "tranship.db", path), 1 << 24,
                               &bytes, &length, &e),
                     1);
    autostr struct str sum = {0};
    str_add_bytes(&sum, bytes, length);
    str_format(&sum, "%u", count_names(s->closed, "blobs/sha256"));
    digest_of(DIGEST_SHA256, sum.text, sum.length, &d);
    return d;
}

/* The same numbers on every machine. */
static size_t dice(uint64_t *seed, size_t sides)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(*seed >> 33) % sides;
}

/* A bit, a cut, something after the end, two stretches changed for each other, one left out, one
 * doubled. */
static void harm(const struct sides *s, uint64_t *seed, struct str *out)
{
    size_t n = s->length, size = 1 + dice(seed, 600), a = dice(seed, n - size),
           b = dice(seed, n - size);
    str_clear(out);
    switch (dice(seed, 6)) {
    case 0:
        str_add_bytes(out, s->bundle, n);
        out->text[a] ^= (char)(1u << dice(seed, 8));
        break;
    case 1:
        str_add_bytes(out, s->bundle, a);
        break;
    case 2:
        str_add_bytes(out, s->bundle, n);
        str_add_bytes(out, s->bundle, size);
        break;
    case 3:
        str_add_bytes(out, s->bundle, n);
        memcpy(out->text + a, s->bundle + b, size);
        break;
    case 4:
        str_add_bytes(out, s->bundle, a);
        str_add_bytes(out, s->bundle + a + size, n - a - size);
        break;
    default:
        str_add_bytes(out, s->bundle, a + size);
        str_add_bytes(out, s->bundle + a, n - a);
        break;
    }
}

static void no_harm_done_to_a_signed_bundle_gets_in(void **state)
{
    struct sides *s = *state;
    struct digest before = state_of(s);
    autostr struct str bad = {0};
    uint64_t seed = 1;
    for (unsigned done = 0; done < HARMS;) {
        struct error e = {0};
        harm(s, &seed, &bad);
        if (bad.length == s->length && memcmp(bad.text, s->bundle, s->length) == 0)
            continue; /* a stretch of zeros for another */
        if (bring_in(s, str_text(&bad), bad.length, &e) == 0)
            fail_msg("harm %u got in", done);
        assert_true(e.kind == ERR_CORRUPT || e.kind == ERR_DENIED);
        struct digest after = state_of(s);
        if (!digest_equals(&before, &after) || count_names(s->closed, "import") != 0)
            fail_msg("harm %u left something: %s", done, e.text);
        done++;
    }
}

/* Headers densely, what comes after them less so. */
static void every_bit_counts(void **state)
{
    struct sides *s = *state;
    for (size_t at = 0; at < s->length; at += 1 + at / 300) {
        struct error e = {0};
        s->bundle[at] ^= (char)(1u << at % 8);
        if (bring_in(s, s->bundle, s->length, &e) == 0)
            fail_msg("byte %zu was changed and it got in", at);
        s->bundle[at] ^= (char)(1u << at % 8);
    }
}

static void the_bundle_itself_gets_in_and_again(void **state)
{
    struct sides *s = *state;
    struct error e = {0};
    struct digest d = digest_of_text("a layer of the open side");
    char path[400];
    for (int turn = 0; turn < 2; turn++) {
        if (bring_in(s, s->bundle, s->length, &e) < 0)
            fail_msg("%s", e.text);
        assert_true(path_exists(blob_path(s->closed, &d, path)));
        assert_int_equal(count_names(s->closed, "import"), 0);
    }
}

/* As a mirror does it whose eviction comes between two steps. */
static int evict_between_steps(struct admittance *a, void *cls, struct error *e)
{
    bool rebuilt = false;
    struct error why = {0};
    char one[100];
    struct sides *s = cls;
    struct digest d = digest_of_text(layer_text("held by both", 0, one));
    struct store *store = store_open(s->closed->path, e);
    struct index *x = index_open(store, &rebuilt, e);
    assert_non_null(x);
    assert_int_equal(admit_staged(a, store, x, e), 1);
    assert_int_equal(admit_staged(a, store, x, e), 1); /* some are looked at, more are to come */
    store_remove(store, &d, &why);
    assert_int_equal(index_remove_blob(x, &d, &why), 0);
    int got = 1;
    while (got > 0)
        got = admit_staged(a, store, x, e);
    index_close(x);
    store_close(store);
    return got < 0 ? -1 : 1;
}

static void what_was_held_and_is_evicted_meanwhile_is_not_said_to_be_there(void **state)
{
    struct sides *s = *state;
    struct error e = {0};
    struct import_result result;
    folder_open_store(s->closed);
    put_image(s->open, "held", "held by both", MANY);
    put_image(s->closed, "held", "held by both", MANY);
    folder_close_store(s->closed);
    write_bundle(s);
    const struct import_options o = {
        .data = s->closed->path, .budget_bytes = -1, .hand_over = evict_between_steps, .cls = s};
    assert_int_equal(import_take(&o, s->path, &result, &e), -1);
    assert_int_equal(e.kind, ERR_NOT_FOUND);
    e = (struct error){0};
    assert_int_equal(bring_in(s, s->bundle, s->length, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_harm_done_to_a_signed_bundle_gets_in, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(the_bundle_itself_gets_in_and_again, setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_was_held_and_is_evicted_meanwhile_is_not_said_to_be_there, setup, teardown),
    };
    log_configure(LOG_LEVEL_OFF, LOG_FORMAT_TEXT);
    return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
