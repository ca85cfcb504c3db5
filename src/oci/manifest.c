/* SPDX-License-Identifier: Apache-2.0
 * One document, one meaning: what two readers could take for different things is refused. */
#include "oci/manifest.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"

enum { MAX_CHILDREN = 10000 };

const char *const manifest_accept = MEDIA_DOCKER_MANIFEST ", " MEDIA_DOCKER_LIST ", " MEDIA_OCI_MANIFEST
                                                          ", " MEDIA_OCI_INDEX ", " MEDIA_OCI_ARTIFACT;

bool manifest_plain_type(struct slice content_type, char out[MEDIA_TYPE_MAX + 1])
{
    struct slice plain = content_type, parameters;
    slice_cut(plain, ';', &plain, &parameters);
    if (!slice_copy(slice_trim(plain), out, MEDIA_TYPE_MAX + 1))
        return false;
    for (char *c = out; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return true;
}

bool manifest_is_known_type(const char *media_type)
{
    static const char *const known[] = {MEDIA_DOCKER_MANIFEST, MEDIA_DOCKER_LIST, MEDIA_OCI_MANIFEST, MEDIA_OCI_INDEX,
                                        MEDIA_OCI_ARTIFACT};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(media_type, known[i]) == 0)
            return true;
    return false;
}

static bool is_generic(const char *type)
{
    static const char *const generic[] = {"", "text/plain", "application/json", "application/octet-stream"};
    for (size_t i = 0; i < sizeof generic / sizeof *generic; i++)
        if (strcmp(type, generic[i]) == 0)
            return true;
    return false;
}

static bool is_schema1(const char *type)
{
    return strncmp(type, "application/vnd.docker.distribution.manifest.v1+", 48) == 0;
}

static int decide_type(const char *content_type, const struct json_t *document, struct manifest *out, struct error *e)
{
    char stated[MEDIA_TYPE_MAX + 1] = "", written[MEDIA_TYPE_MAX + 1] = "";
    const char *media_type = json_get_string(document, "mediaType");
    bool has_manifests = json_get_array(document, "manifests") != NULL;
    bool has_parts = json_get(document, "config") || json_get(document, "layers");
    if ((content_type && !manifest_plain_type(slice_of(content_type), stated)) ||
        (media_type && !manifest_plain_type(slice_of(media_type), written)))
        return error_set(e, ERR_CORRUPT, "the manifest's media type is too long");
    if (json_get(document, "manifests") && has_parts)
        return error_set(e, ERR_CORRUPT, "the document is both an index and a manifest");
    if (strcmp(stated, "text/html") == 0)
        return error_set(e, ERR_CORRUPT, "a web page came instead of a manifest");
    if (!is_generic(stated) && written[0] && strcmp(stated, written) != 0)
        return error_set(e, ERR_CORRUPT, "Content-Type %s contradicts mediaType %s", stated, written);
    const char *type = !is_generic(stated) ? stated
                       : written[0]        ? written
                       : has_manifests     ? MEDIA_OCI_INDEX
                       : has_parts         ? MEDIA_OCI_MANIFEST
                                           : "";
    if (is_schema1(type) || (!type[0] && json_get(document, "fsLayers")) || json_get(document, "fsLayers"))
        return error_set(e, ERR_NOT_FOUND, "only a schema 1 manifest is there, which no client takes any more");
    if (!type[0])
        return error_set(e, ERR_CORRUPT, "the document is no manifest");
    slice_copy(slice_of(type), out->media_type, sizeof out->media_type);
    out->is_index = has_manifests || strcmp(type, MEDIA_OCI_INDEX) == 0 || strcmp(type, MEDIA_DOCKER_LIST) == 0;
    bool is_image = strcmp(type, MEDIA_OCI_MANIFEST) == 0 || strcmp(type, MEDIA_DOCKER_MANIFEST) == 0;
    if ((is_image && has_manifests) || (out->is_index && has_parts))
        return error_set(e, ERR_CORRUPT, "the document is not the %s that it says it is", type);
    return 0;
}

static char *platform_of(const struct json_t *descriptor)
{
    const struct json_t *p = json_get_object(descriptor, "platform");
    const char *os = p ? json_get_string(p, "os") : NULL, *arch = p ? json_get_string(p, "architecture") : NULL;
    const char *variant = p ? json_get_string(p, "variant") : NULL;
    if (!os || !arch)
        return alloc_string("");
    return variant ? alloc_format("%s/%s/%s", os, arch, variant) : alloc_format("%s/%s", os, arch);
}

static int add_child(struct manifest *out, enum child_kind kind, const struct json_t *descriptor, struct error *e)
{
    struct child c = {.kind = kind, .size_bytes = -1};
    const char *text = json_is_object(descriptor) ? json_get_string(descriptor, "digest") : NULL;
    int found = text ? digest_parse(slice_of(text), &c.digest) : -1;
    if (found < 0)
        return error_set(e, ERR_CORRUPT, "a descriptor has no well-formed digest");
    if (found == 0)
        return 0;
    if (json_get_integer(descriptor, "size", &c.size_bytes) && c.size_bytes < 0)
        return error_set(e, ERR_CORRUPT, "a descriptor has a negative size");
    const char *type = json_get_string(descriptor, "mediaType");
    c.media_type = alloc_string(type ? type : "");
    c.platform = platform_of(descriptor);
    out->children[out->child_count++] = c;
    return 0;
}

static int add_children(struct manifest *out, const struct json_t *document, struct error *e)
{
    const struct json_t *manifests = json_get_array(document, "manifests"), *layers = json_get_array(document, "layers");
    const struct json_t *config = json_get_object(document, "config"), *subject = json_get_object(document, "subject");
    const struct json_t *blobs = json_get_array(document, "blobs");
    size_t count = (manifests ? json_count(manifests) : 0) + (layers ? json_count(layers) : 0) + (blobs ? json_count(blobs) : 0);
    if (count > MAX_CHILDREN)
        return error_set(e, ERR_CORRUPT, "the manifest names more than %d parts", MAX_CHILDREN);
    out->children = alloc_array(count + 2, sizeof *out->children);
    for (size_t i = 0; manifests && i < json_count(manifests); i++)
        if (add_child(out, CHILD_MANIFEST, json_item(manifests, i), e) < 0)
            return -1;
    if (config && add_child(out, CHILD_CONFIG, config, e) < 0)
        return -1;
    for (size_t i = 0; layers && i < json_count(layers); i++)
        if (add_child(out, CHILD_LAYER, json_item(layers, i), e) < 0)
            return -1;
    for (size_t i = 0; blobs && i < json_count(blobs); i++)
        if (add_child(out, CHILD_LAYER, json_item(blobs, i), e) < 0)
            return -1;
    return subject ? add_child(out, CHILD_SUBJECT, subject, e) : 0;
}

static void read_annotations(struct manifest *out, const struct json_t *document)
{
    autostr struct str text = {0};
    const struct json_t *annotations = json_get_object(document, "annotations");
    const struct json_t *config = json_get_object(document, "config");
    const char *type = json_get_string(document, "artifactType");
    if (!type && config && !out->is_index)
        type = json_get_string(config, "mediaType");
    out->artifact_type = alloc_string(type ? type : "");
    if (annotations)
        json_print(annotations, &text);
    out->annotations = str_take(&text);
}

int manifest_parse(const char *content_type, const char *bytes, size_t length, struct manifest *out, struct error *e)
{
    struct manifest m;
    memset(&m, 0, sizeof m);
    autojson struct json_t *document = json_parse(bytes, length, e);
    if (!document)
        return error_prefix(e, "the manifest is no JSON");
    if (!json_is_object(document))
        return error_set(e, ERR_CORRUPT, "the manifest is no JSON object");
    if (decide_type(content_type, document, &m, e) < 0)
        return -1;
    if (add_children(&m, document, e) < 0) {
        manifest_fini(&m);
        return -1;
    }
    read_annotations(&m, document);
    *out = m;
    return 0;
}

void manifest_fini(struct manifest *m)
{
    for (size_t i = 0; i < m->child_count; i++) {
        free(m->children[i].media_type);
        free(m->children[i].platform);
    }
    free(m->children);
    free(m->artifact_type);
    free(m->annotations);
    memset(m, 0, sizeof *m);
}
