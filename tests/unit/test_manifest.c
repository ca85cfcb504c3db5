/* SPDX-License-Identifier: Apache-2.0
 * manifest: the true type of a document, its children, and the documents that mean two things. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "oci/manifest.h"

#define A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define CONFIG                                                                                     \
    "\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"" A       \
    "\",\"size\":7}"
#define LAYERS "\"layers\":[{\"mediaType\":\"x/layer\",\"digest\":\"" B "\",\"size\":9}]"
#define TYPE(t) "\"mediaType\":\"" t "\""
#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static struct manifest parsed(const char *content_type, const char *document)
{
    struct manifest m;
    struct error e = {0};
    if (manifest_parse(content_type, document, strlen(document), &m, &e) != 0)
        fail_msg("%s as %s: %s", document, content_type ? content_type : "nothing", e.text);
    assert_int_equal(e.kind, ERR_NONE);
    return m;
}

static enum error_kind refused(const char *content_type, const char *document)
{
    struct manifest m, before;
    struct error e = {0};
    memset(&m, 0x5a, sizeof(m));
    before = m;
    if (manifest_parse(content_type, document, strlen(document), &m, &e) != -1)
        fail_msg("%s as %s is taken", document, content_type ? content_type : "nothing");
    assert_memory_equal(&m, &before, sizeof(m));
    return e.kind;
}

static void assert_type(const char *content_type, const char *document, const char *type)
{
    struct manifest m = parsed(content_type, document);
    assert_string_equal(m.media_type, type);
    manifest_fini(&m);
}

static void assert_child(const struct manifest *m, size_t i, enum child_kind kind,
                         const char *digest, int64_t size_bytes)
{
    char text[DIGEST_TEXT_MAX];
    assert_true(i < m->child_count);
    assert_int_equal(m->children[i].kind, kind);
    assert_string_equal(digest_print(&m->children[i].digest, text), digest);
    assert_int_equal(m->children[i].size_bytes, size_bytes);
}

static void the_content_type_decides_without_its_parameters(void **state)
{
    (void)state;
    static const char document[] = "{" CONFIG "," LAYERS "}";
    assert_type(MEDIA_DOCKER_MANIFEST, document, MEDIA_DOCKER_MANIFEST);
    assert_type(MEDIA_OCI_MANIFEST "; charset=utf-8", document, MEDIA_OCI_MANIFEST);
    assert_type(" Application/VND.oci.image.manifest.v1+JSON ;", document, MEDIA_OCI_MANIFEST);
    assert_type(MEDIA_DOCKER_LIST, "{\"manifests\":[]}", MEDIA_DOCKER_LIST);
}

static void a_generic_content_type_gives_way_to_the_media_type(void **state)
{
    (void)state;
    static const char *const generic[] = {NULL, "", "text/plain; charset=utf-8", "application/json",
                                          "application/octet-stream"};
    for (size_t i = 0; i < COUNT(generic); i++) {
        assert_type(generic[i], "{" TYPE(MEDIA_DOCKER_MANIFEST) "," CONFIG "," LAYERS "}",
                    MEDIA_DOCKER_MANIFEST);
        assert_type(generic[i], "{" TYPE("application/vnd.example.thing+json") "}",
                    "application/vnd.example.thing+json");
    }
}

static void without_any_type_the_keys_decide(void **state)
{
    (void)state;
    assert_type(NULL, "{\"manifests\":[]}", MEDIA_OCI_INDEX);
    assert_type("application/json", "{" CONFIG "}", MEDIA_OCI_MANIFEST);
    assert_type(NULL, "{" LAYERS "}", MEDIA_OCI_MANIFEST);
    assert_type(NULL, "{\"mediaType\":null," LAYERS "}", MEDIA_OCI_MANIFEST);
    assert_type(NULL, "{" TYPE("") "," LAYERS "}", MEDIA_OCI_MANIFEST);
    assert_int_equal(refused(NULL, "{" TYPE("application/json") "," LAYERS "}"), ERR_CORRUPT);
    assert_int_equal(refused(NULL, "{}"), ERR_CORRUPT);
    assert_int_equal(refused("application/json", "{\"errors\":[{\"code\":\"DENIED\"}]}"),
                     ERR_CORRUPT);
}

static void a_media_type_against_the_content_type_is_refused(void **state)
{
    (void)state;
    assert_int_equal(
        refused(MEDIA_OCI_MANIFEST, "{" TYPE(MEDIA_DOCKER_MANIFEST) "," CONFIG "," LAYERS "}"),
        ERR_CORRUPT);
    assert_int_equal(refused(MEDIA_OCI_INDEX, "{" TYPE(MEDIA_OCI_MANIFEST) ",\"manifests\":[]}"),
                     ERR_CORRUPT);
    assert_int_equal(refused("application/vnd.x+json", "{" TYPE("application/vnd.y+json") "}"),
                     ERR_CORRUPT);
}

static void a_document_of_both_kinds_is_refused(void **state)
{
    (void)state;
    static const char *const types[] = {NULL, MEDIA_OCI_INDEX, MEDIA_OCI_MANIFEST,
                                        "application/vnd.x+json"};
    for (size_t i = 0; i < COUNT(types); i++) {
        assert_int_equal(refused(types[i], "{\"manifests\":[]," LAYERS "}"), ERR_CORRUPT);
        assert_int_equal(refused(types[i], "{\"manifests\":[]," CONFIG "}"), ERR_CORRUPT);
        assert_int_equal(refused(types[i], "{\"manifests\":[],\"layers\":[]}"), ERR_CORRUPT);
        assert_int_equal(refused(types[i], "{\"manifests\":{},\"config\":0}"), ERR_CORRUPT);
    }
}

static void a_known_type_must_have_its_shape(void **state)
{
    (void)state;
    assert_int_equal(refused(MEDIA_OCI_MANIFEST, "{}"), ERR_CORRUPT);
    assert_int_equal(refused(MEDIA_OCI_MANIFEST, "{\"manifests\":[]}"), ERR_CORRUPT);
    assert_int_equal(refused(MEDIA_DOCKER_MANIFEST, "{\"layers\":{}}"), ERR_CORRUPT);
    assert_int_equal(refused(MEDIA_DOCKER_MANIFEST, "{\"config\":[]," LAYERS "}"), ERR_CORRUPT);
    assert_int_equal(refused(MEDIA_OCI_MANIFEST, "{" CONFIG ",\"subject\":\"x\"}"), ERR_CORRUPT);
    assert_int_equal(refused(MEDIA_OCI_INDEX, "{}"), ERR_CORRUPT);
    assert_int_equal(refused(MEDIA_OCI_INDEX, "{\"manifests\":{}}"), ERR_CORRUPT);
    assert_int_equal(refused(MEDIA_DOCKER_LIST, "{" CONFIG "}"), ERR_CORRUPT);
}

static void what_is_no_json_object_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "[]", "null", "\"x\"", "{", "<html></html>", "{} {}", "{\"a\":1,\"a\":2}"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(refused(MEDIA_OCI_MANIFEST, bad[i]), ERR_CORRUPT);
        assert_int_equal(refused("application/vnd.x+json", bad[i]), ERR_CORRUPT);
    }
}

static void a_web_page_is_refused_whatever_it_holds(void **state)
{
    (void)state;
    assert_int_equal(refused("text/html; charset=utf-8", "<html></html>"), ERR_CORRUPT);
    assert_int_equal(refused("text/html", "{" CONFIG "," LAYERS "}"), ERR_CORRUPT);
}

static void schema_1_is_as_good_as_absent(void **state)
{
    (void)state;
    static const char document[] = "{\"schemaVersion\":1,\"fsLayers\":[{\"blobSum\":\"" A "\"}]}";
    static const char *const types[] = {
        NULL,
        "application/json",
        MEDIA_DOCKER_MANIFEST,
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws; charset=utf-8",
    };
    for (size_t i = 0; i < COUNT(types); i++)
        assert_int_equal(refused(types[i], document), ERR_NOT_FOUND);
    assert_int_equal(
        refused(NULL, "{" TYPE("application/vnd.docker.distribution.manifest.v1+json") "}"),
        ERR_NOT_FOUND);
}

static void what_is_no_media_type_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"manifest", "/",     "a/",      "/a",
                                      "a/b/c",    "a/b c", "a/b,c/d", "a/\xc3\xa9"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(refused(bad[i], "{" CONFIG "}"), ERR_CORRUPT);
    assert_int_equal(refused(NULL, "{\"mediaType\":\"a/b\\r\\nSet-Cookie: c\"}"), ERR_CORRUPT);
    assert_int_equal(refused(NULL, "{\"mediaType\":\"a/b\\u0000\"," LAYERS "}"), ERR_CORRUPT);
    assert_int_equal(refused(NULL, "{\"mediaType\":5," LAYERS "}"), ERR_CORRUPT);
}

static void an_image_lists_config_layers_and_subject(void **state)
{
    (void)state;
    struct manifest m =
        parsed(MEDIA_OCI_MANIFEST,
               "{" CONFIG "," LAYERS ",\"subject\":{\"digest\":\"" C "\",\"size\":1}}");
    assert_false(m.is_index);
    assert_int_equal(m.child_count, 3);
    assert_child(&m, 0, CHILD_CONFIG, A, 7);
    assert_child(&m, 1, CHILD_LAYER, B, 9);
    assert_child(&m, 2, CHILD_SUBJECT, C, 1);
    assert_string_equal(m.children[1].media_type, "x/layer");
    assert_string_equal(m.children[2].media_type, "");
    assert_string_equal(m.children[1].platform, "");
    manifest_fini(&m);
    assert_null(m.children);
}

static void an_index_lists_manifests_with_their_platforms(void **state)
{
    (void)state;
    struct manifest m = parsed(
        NULL, "{\"manifests\":["
              "{\"digest\":\"" A "\",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":"
              "\"arm\",\"variant\":\"v7\"}},"
              "{\"digest\":\"" B
              "\",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\",\"variant\":\"\"}},"
              "{\"digest\":\"" C "\",\"platform\":{\"os\":\"linux\"}}]}");
    assert_true(m.is_index);
    assert_int_equal(m.child_count, 3);
    assert_child(&m, 0, CHILD_MANIFEST, A, 1);
    assert_child(&m, 1, CHILD_MANIFEST, B, -1);
    assert_string_equal(m.children[0].platform, "linux/arm/v7");
    assert_string_equal(m.children[1].platform, "linux/amd64");
    assert_string_equal(m.children[2].platform, "");
    assert_string_equal(m.artifact_type, "");
    manifest_fini(&m);
}

static void an_artifact_manifest_lists_its_blobs(void **state)
{
    (void)state;
    struct manifest m =
        parsed(MEDIA_OCI_ARTIFACT,
               "{\"artifactType\":\"a/b\",\"blobs\":[{\"digest\":\"" A "\",\"size\":3}]}");
    assert_int_equal(m.child_count, 1);
    assert_child(&m, 0, CHILD_LAYER, A, 3);
    assert_string_equal(m.artifact_type, "a/b");
    manifest_fini(&m);
    m = parsed(MEDIA_OCI_ARTIFACT, "{}");
    assert_int_equal(m.child_count, 0);
    manifest_fini(&m);
}

static void a_bad_descriptor_spoils_a_known_type(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "null",
        "7",
        "{\"digest\":7}",
        "{\"digest\":\"\"}",
        "{\"digest\":\"sha256:short\"}",
        "{\"digest\":\"sha256:../../../etc/passwd\"}",
        "{\"digest\":\"" A "\",\"size\":-1}",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        char document[300];
        int length = snprintf(document, sizeof(document), "{" CONFIG ",\"layers\":[%s]}", bad[i]);
        assert_in_range(length, 1, sizeof(document) - 1);
        assert_int_equal(refused(MEDIA_OCI_MANIFEST, document), ERR_CORRUPT);
    }
    assert_int_equal(refused(NULL, "{\"config\":{}}"), ERR_CORRUPT);
    assert_int_equal(refused(NULL, "{" CONFIG ",\"subject\":{}}"), ERR_CORRUPT);
}

static void descriptors_that_cannot_be_verified_are_left_out(void **state)
{
    (void)state;
    struct manifest m =
        parsed(NULL, "{" CONFIG ",\"layers\":[{\"digest\":\"blake3:abcd\",\"size\":1},"
                     "{\"digest\":\"" C "\",\"size\":2}]}");
    assert_int_equal(m.child_count, 2);
    assert_child(&m, 1, CHILD_LAYER, C, 2);
    manifest_fini(&m);
}

static void an_unknown_type_passes_with_what_can_be_made_out(void **state)
{
    (void)state;
    struct manifest m = parsed("application/vnd.example+json; v=1",
                               "{\"config\":{\"colour\":\"red\"},\"layers\":[{\"digest\":\"" B
                               "\"},5,{\"digest\":\"x\"}],"
                               "\"fsLayers\":[],\"subject\":\"none\"}");
    assert_string_equal(m.media_type, "application/vnd.example+json");
    assert_false(m.is_index);
    assert_int_equal(m.child_count, 1);
    assert_child(&m, 0, CHILD_LAYER, B, -1);
    manifest_fini(&m);
    m = parsed("application/vnd.example.list+json", "{\"manifests\":[{\"digest\":\"" A "\"}]}");
    assert_true(m.is_index);
    assert_int_equal(m.child_count, 1);
    manifest_fini(&m);
}

static void the_artifact_type_falls_back_to_the_config(void **state)
{
    (void)state;
    struct manifest m = parsed(NULL, "{" CONFIG "," LAYERS "}");
    assert_string_equal(m.artifact_type, "application/vnd.oci.image.config.v1+json");
    manifest_fini(&m);
    m = parsed(NULL, "{\"artifactType\":\"\"," CONFIG "}");
    assert_string_equal(m.artifact_type, "application/vnd.oci.image.config.v1+json");
    manifest_fini(&m);
    m = parsed(NULL, "{\"artifactType\":\"application/vnd.dev.cosign\"," CONFIG "}");
    assert_string_equal(m.artifact_type, "application/vnd.dev.cosign");
    manifest_fini(&m);
    m = parsed(NULL, "{\"artifactType\":\"a/b\",\"manifests\":[]}");
    assert_string_equal(m.artifact_type, "a/b");
    manifest_fini(&m);
}

static void annotations_are_kept_as_compact_json(void **state)
{
    (void)state;
    struct manifest m =
        parsed(NULL, "{" CONFIG ", \"annotations\" : { \"b\" : \"1\" , \"a\":\"\\u00e9\\n\" } }");
    assert_string_equal(m.annotations, "{\"b\":\"1\",\"a\":\"\xc3\xa9\\n\"}");
    manifest_fini(&m);
    m = parsed(NULL, "{" CONFIG "}");
    assert_string_equal(m.annotations, "");
    manifest_fini(&m);
    m = parsed(NULL, "{" CONFIG ",\"annotations\":[]}");
    assert_string_equal(m.annotations, "");
    manifest_fini(&m);
}

static void print_index(struct str *document, int count)
{
    str_add(document, "{\"manifests\":[");
    for (int i = 0; i < count; i++)
        str_format(document, "%s{\"digest\":\"sha256:%064d\"}", i ? "," : "", i);
    str_add(document, "]}");
}

static void ten_thousand_children_are_taken_and_no_more(void **state)
{
    (void)state;
    autostr struct str document = {0};
    print_index(&document, 10000);
    struct manifest m = parsed(NULL, str_text(&document));
    assert_int_equal(m.child_count, 10000);
    manifest_fini(&m);
    str_clear(&document);
    print_index(&document, 10001);
    assert_int_equal(refused(NULL, str_text(&document)), ERR_CORRUPT);
}

static void a_plain_type_is_lower_case_without_parameters(void **state)
{
    (void)state;
    char out[MEDIA_TYPE_MAX + 1] = "before", longest[MEDIA_TYPE_MAX + 2];
    assert_true(manifest_plain_type(slice_of("\tText/HTML ; charset=x"), out));
    assert_string_equal(out, "text/html");
    assert_true(manifest_plain_type(slice_of(""), out));
    assert_string_equal(out, "");
    assert_true(manifest_plain_type(slice_of(NULL), out));
    memcpy(out, "before", 7);
    assert_false(manifest_plain_type(slice_of("a/b\r\nc"), out));
    assert_false(manifest_plain_type((struct slice){"a/\0b", 4}, out));
    memset(longest, 'a', sizeof(longest));
    longest[1] = '/';
    assert_false(manifest_plain_type((struct slice){longest, MEDIA_TYPE_MAX + 1}, out));
    assert_string_equal(out, "before");
    assert_true(manifest_plain_type((struct slice){longest, MEDIA_TYPE_MAX}, out));
    assert_int_equal(strlen(out), MEDIA_TYPE_MAX);
}

static void upstreams_are_asked_for_every_known_type(void **state)
{
    (void)state;
    static const char *const known[] = {MEDIA_DOCKER_MANIFEST, MEDIA_DOCKER_LIST,
                                        MEDIA_OCI_MANIFEST, MEDIA_OCI_INDEX, MEDIA_OCI_ARTIFACT};
    for (size_t i = 0; i < COUNT(known); i++) {
        assert_non_null(strstr(manifest_accept, known[i]));
        assert_true(manifest_is_known_type(known[i]));
    }
    assert_false(manifest_is_known_type(""));
    assert_false(manifest_is_known_type("application/json"));
    assert_false(manifest_is_known_type(MEDIA_OCI_INDEX "x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_content_type_decides_without_its_parameters),
        cmocka_unit_test(a_generic_content_type_gives_way_to_the_media_type),
        cmocka_unit_test(without_any_type_the_keys_decide),
        cmocka_unit_test(a_media_type_against_the_content_type_is_refused),
        cmocka_unit_test(a_document_of_both_kinds_is_refused),
        cmocka_unit_test(a_known_type_must_have_its_shape),
        cmocka_unit_test(what_is_no_json_object_is_refused),
        cmocka_unit_test(a_web_page_is_refused_whatever_it_holds),
        cmocka_unit_test(schema_1_is_as_good_as_absent),
        cmocka_unit_test(what_is_no_media_type_is_refused),
        cmocka_unit_test(an_image_lists_config_layers_and_subject),
        cmocka_unit_test(an_index_lists_manifests_with_their_platforms),
        cmocka_unit_test(an_artifact_manifest_lists_its_blobs),
        cmocka_unit_test(a_bad_descriptor_spoils_a_known_type),
        cmocka_unit_test(descriptors_that_cannot_be_verified_are_left_out),
        cmocka_unit_test(an_unknown_type_passes_with_what_can_be_made_out),
        cmocka_unit_test(the_artifact_type_falls_back_to_the_config),
        cmocka_unit_test(annotations_are_kept_as_compact_json),
        cmocka_unit_test(ten_thousand_children_are_taken_and_no_more),
        cmocka_unit_test(a_plain_type_is_lower_case_without_parameters),
        cmocka_unit_test(upstreams_are_asked_for_every_known_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
