/* SPDX-License-Identifier: Apache-2.0
 * One document, one meaning: what two readers could take for different things is refused. */
#include "oci/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"

enum { MAX_CHILDREN = 10000 };

const char *const manifest_accept = MEDIA_DOCKER_MANIFEST
    ", " MEDIA_DOCKER_LIST ", " MEDIA_OCI_MANIFEST ", " MEDIA_OCI_INDEX ", " MEDIA_OCI_ARTIFACT;

static bool is_token(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* type "/" subtype (RFC 9110 §8.3.1). It goes back out as a header, so nothing else may get in. */
static bool is_media_type(struct slice s)
{
    size_t slashes = 0;
    for (size_t i = 0; i < s.length; i++) {
        if (s.at[i] == '/')
            slashes++;
        else if (!is_token(s.at[i]))
            return false;
    }
    return slashes == 1 && s.at[0] != '/' && s.at[s.length - 1] != '/';
}

bool manifest_plain_type(struct slice content_type, char out[MEDIA_TYPE_MAX + 1])
{
    struct slice plain = content_type, parameters;
    slice_cut(plain, ';', &plain, &parameters);
    plain = slice_trim(plain);
    if ((plain.length > 0 && !is_media_type(plain)) || !slice_copy(plain, out, MEDIA_TYPE_MAX + 1))
        return false;
    for (char *c = out; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + ('a' - 'A'));
    return true;
}

bool manifest_is_known_type(const char *media_type)
{
    static const char *const known[] = {MEDIA_DOCKER_MANIFEST, MEDIA_DOCKER_LIST,
                                        MEDIA_OCI_MANIFEST, MEDIA_OCI_INDEX, MEDIA_OCI_ARTIFACT};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(media_type, known[i]) == 0)
            return true;
    return false;
}

static bool is_generic(const char *type)
{
    static const char *const generic[] = {"", "text/plain", "application/json",
                                          "application/octet-stream"};
    for (size_t i = 0; i < sizeof generic / sizeof *generic; i++)
        if (strcmp(type, generic[i]) == 0)
            return true;
    return false;
}

static bool is_schema1(const char *type)
{
    return strncmp(type, "application/vnd.docker.distribution.manifest.v1+", 48) == 0;
}

static int read_types(const char *content_type, const struct json_t *document,
                      char stated[MEDIA_TYPE_MAX + 1], char written[MEDIA_TYPE_MAX + 1],
                      struct error *e)
{
    const char *media_type = json_get_string(document, "mediaType");
    if (content_type && !manifest_plain_type(slice_of(content_type), stated))
        return error_set(e, ERR_CORRUPT, "the manifest's Content-Type is no media type");
    if (json_get(document, "mediaType") && !media_type)
        return error_set(e, ERR_CORRUPT, "the manifest's mediaType is no text");
    if (media_type && !manifest_plain_type(slice_of(media_type), written))
        return error_set(e, ERR_CORRUPT, "the manifest's mediaType is no media type");
    if (!is_generic(stated) && written[0] && strcmp(stated, written) != 0)
        return error_set(e, ERR_CORRUPT, "Content-Type %s contradicts mediaType %s", stated,
                         written);
    return 0;
}

/* Of the five types we know the shape, and hold them to it: clients would only refuse later. */
static int check_shape(const struct manifest *m, const struct json_t *document, struct error *e)
{
    bool is_image = strcmp(m->media_type, MEDIA_OCI_MANIFEST) == 0 ||
                    strcmp(m->media_type, MEDIA_DOCKER_MANIFEST) == 0;
    bool is_list = strcmp(m->media_type, MEDIA_OCI_INDEX) == 0 ||
                   strcmp(m->media_type, MEDIA_DOCKER_LIST) == 0;
    const struct json_t *manifests = json_get(document, "manifests");
    const struct json_t *config = json_get(document, "config");
    const struct json_t *layers = json_get(document, "layers");
    const struct json_t *subject = json_get(document, "subject");
    bool has_parts = config || layers;
    if (manifests && has_parts)
        return error_set(e, ERR_CORRUPT, "the document is both an index and a manifest");
    if (!manifest_is_known_type(m->media_type))
        return 0;
    if ((is_image && !has_parts) || (is_list && !manifests) || (!is_list && manifests) ||
        (is_list && has_parts))
        return error_set(e, ERR_CORRUPT, "the document is not the %s that it says it is",
                         m->media_type);
    if ((manifests && !json_is_array(manifests)) || (layers && !json_is_array(layers)) ||
        (config && !json_is_object(config)) || (subject && !json_is_object(subject)))
        return error_set(e, ERR_CORRUPT, "the manifest has a part of the wrong JSON type");
    return 0;
}

static int decide_type(const char *content_type, const struct json_t *document,
                       struct manifest *out, struct error *e)
{
    char stated[MEDIA_TYPE_MAX + 1] = "", written[MEDIA_TYPE_MAX + 1] = "";
    bool has_manifests = json_get_array(document, "manifests") != NULL;
    if (read_types(content_type, document, stated, written, e) < 0)
        return -1;
    bool has_parts = json_get(document, "config") || json_get(document, "layers");
    const char *type = !is_generic(stated) ? stated
                       : written[0]        ? written
                       : has_manifests     ? MEDIA_OCI_INDEX
                       : has_parts         ? MEDIA_OCI_MANIFEST
                                           : "";
    bool is_ours = is_generic(type) || manifest_is_known_type(type);
    if (is_schema1(type) || (is_ours && json_get(document, "fsLayers")))
        return error_set(e, ERR_NOT_FOUND,
                         "only a schema 1 manifest is there, which no client takes any more");
    if (strcmp(type, "text/html") == 0)
        return error_set(e, ERR_CORRUPT, "a web page came instead of a manifest");
    if (is_generic(type))
        return error_set(e, ERR_CORRUPT, "the document is no manifest");
    slice_copy(slice_of(type), out->media_type, sizeof out->media_type);
    out->is_index = has_manifests;
    return check_shape(out, document, e);
}

static bool is_filled(const char *text)
{
    return text && text[0];
}

static char *platform_of(const struct json_t *descriptor)
{
    const struct json_t *p = json_get_object(descriptor, "platform");
    const char *os = json_get_string(p, "os"), *architecture = json_get_string(p, "architecture");
    const char *variant = json_get_string(p, "variant");
    if (!is_filled(os) || !is_filled(architecture))
        return alloc_string("");
    if (!is_filled(variant))
        return alloc_format("%s/%s", os, architecture);
    return alloc_format("%s/%s/%s", os, architecture, variant);
}

static int read_child(const struct json_t *descriptor, struct child *c, struct error *e)
{
    const char *text = json_get_string(descriptor, "digest");
    int found = text ? digest_parse(slice_of(text), &c->digest) : -1;
    if (found < 0)
        return error_set(e, ERR_CORRUPT, "a descriptor has no well-formed digest");
    if (json_get_integer(descriptor, "size", &c->size_bytes) && c->size_bytes < 0)
        return error_set(e, ERR_CORRUPT, "a descriptor has a negative size");
    return found;
}

/* In a type that we do not know, what looks like a bad descriptor may be none at all. */
static int add_child(struct manifest *out, enum child_kind kind, const struct json_t *descriptor,
                     struct error *e)
{
    struct child c = {.kind = kind, .size_bytes = -1};
    bool is_known = manifest_is_known_type(out->media_type);
    int found = read_child(descriptor, &c, is_known ? e : NULL);
    if (found < 0 && is_known)
        return -1;
    if (found <= 0)
        return 0;
    const char *type = json_get_string(descriptor, "mediaType");
    c.media_type = alloc_string(type ? type : "");
    c.platform = platform_of(descriptor);
    out->children[out->child_count++] = c;
    return 0;
}

static int add_children(struct manifest *out, const struct json_t *document, struct error *e)
{
    static const struct {
        const char *key;
        enum child_kind kind;
        bool is_list;
    } places[] = {{"manifests", CHILD_MANIFEST, true},
                  {"config", CHILD_CONFIG, false},
                  {"layers", CHILD_LAYER, true},
                  {"blobs", CHILD_LAYER, true},
                  {"subject", CHILD_SUBJECT, false}};
    enum { PLACES = sizeof places / sizeof *places };
    const struct json_t *found[PLACES];
    size_t count = 0;
    for (size_t i = 0; i < PLACES; i++) {
        found[i] = places[i].is_list ? json_get_array(document, places[i].key)
                                     : json_get_object(document, places[i].key);
        count += places[i].is_list ? json_count(found[i]) : found[i] != NULL;
    }
    if (count > MAX_CHILDREN)
        return error_set(e, ERR_CORRUPT, "the manifest names more than %d parts", MAX_CHILDREN);
    out->children = alloc_array(count + 1, sizeof *out->children);
    for (size_t i = 0; i < PLACES; i++) {
        size_t n = places[i].is_list ? json_count(found[i]) : found[i] != NULL;
        for (size_t k = 0; k < n; k++)
            if (add_child(out, places[i].kind,
                          places[i].is_list ? json_item(found[i], k) : found[i], e) < 0)
                return -1;
    }
    return 0;
}

static void read_annotations(struct manifest *out, const struct json_t *document)
{
    autostr struct str text = {0};
    const struct json_t *annotations = json_get_object(document, "annotations");
    const struct json_t *config = json_get_object(document, "config");
    const char *type = json_get_string(document, "artifactType");
    if (!is_filled(type) && config && !out->is_index)
        type = json_get_string(config, "mediaType");
    out->artifact_type = alloc_string(type ? type : "");
    if (annotations)
        json_print(annotations, &text);
    out->annotations = str_take(&text);
}

int manifest_parse(const char *content_type, const char *bytes, size_t length, struct manifest *out,
                   struct error *e)
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

bool manifest_may_lack(const struct child *c)
{
    return strstr(c->media_type, ".foreign.") || strstr(c->media_type, ".nondistributable.");
}
