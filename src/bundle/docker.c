/* SPDX-License-Identifier: Apache-2.0
 * manifest.json: [{"Config", "RepoTags", "Layers"}]. Layers keep their bytes, so the new manifest
 * names them uncompressed mostly, which every client takes. */
#include "bundle/docker.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "bundle/foreign.h"
#include "bundle/intake.h"
#include "bundle/members.h"
#include "bundle/stage.h"
#include "cache/index.h"
#include "oci/manifest.h"

#define CONFIG_MAX_BYTES (8u * 1024 * 1024)
#define MEDIA_CONFIG "application/vnd.oci.image.config.v1+json"
#define MEDIA_LAYER "application/vnd.oci.image.layer.v1.tar"
#define LAYERS_MAX 1000

/* By its first bytes: the ending of its media type. NULL: it cannot be read. */
static const char *packed_as(const struct intake *in, const struct digest *d)
{
    unsigned char first[4] = {0};
    uint64_t size_bytes = 0;
    autoclose int fd = -1;
    if (stage_get(in->stage, in->store, d, &fd, &size_bytes, NULL) != 1 ||
        file_read_some(fd, first, sizeof first, 0, NULL) < 0)
        return NULL;
    if (first[0] == 0x1f && first[1] == 0x8b)
        return "+gzip";
    return memcmp(first, "\x28\xb5\x2f\xfd", 4) == 0 ? "+zstd" : "";
}

static void print_descriptor(struct str *out, const char *type, const char *packed,
                             const struct member *m)
{
    char text[DIGEST_TEXT_MAX];
    str_format(out, "{\"mediaType\":\"%s%s\",\"digest\":\"%s\",\"size\":%" PRIu64 "}", type, packed,
               digest_print(&m->digest, text), m->size_bytes);
}

/* diff_id: what the configuration says of the unpacked layer; of a packed one clients check it. */
static int add_layer(const struct intake *in, const struct members *m, const char *path,
                     const char *diff_id, struct str *out, struct error *e)
{
    char text[DIGEST_TEXT_MAX];
    const struct member *layer = path ? members_find(m, path) : NULL;
    const char *packed = layer ? packed_as(in, &layer->digest) : NULL;
    if (!packed)
        return error_set(e, ERR_CORRUPT, "names layer %.100s, which is not there",
                         path ? path : "of no name");
    if (!diff_id || (!*packed && strcmp(digest_print(&layer->digest, text), diff_id) != 0))
        return error_set(e, ERR_CORRUPT, "layer %.100s is not what the image names", path);
    print_descriptor(out, MEDIA_LAYER, packed, layer);
    return 0;
}

static int add_layers(const struct intake *in, const struct members *m, const struct json_t *layers,
                      const struct json_t *config, struct str *out, struct error *e)
{
    const struct json_t *root = json_get_object(config, "rootfs");
    const struct json_t *ids = root ? json_get_array(root, "diff_ids") : NULL;
    if (json_count(layers) != json_count(ids) || json_count(ids) > LAYERS_MAX)
        return error_set(e, ERR_CORRUPT, "has %zu layers for an image of %zu", json_count(layers),
                         json_count(ids));
    for (size_t i = 0; i < json_count(layers); i++) {
        if (i)
            str_add_char(out, ',');
        if (add_layer(in, m, json_text(json_item(layers, i)), json_text(json_item(ids, i)), out,
                      e) < 0)
            return -1;
    }
    return 0;
}

static int stage_text(struct intake *in, const struct str *text, struct digest *d, struct error *e)
{
    struct arrival a;
    if (arrival_begin(&a, in->stage, DIGEST_SHA256, e) < 0)
        return -1;
    if (arrival_write(&a, text->text, text->length, e) < 0) {
        arrival_drop(&a);
        return -1;
    }
    return arrival_end(&a, NULL, d, e);
}

static int make_manifest(struct intake *in, const struct members *m, const struct json_t *image,
                         struct digest *d, struct error *e)
{
    size_t length = 0;
    autofree char *text = NULL;
    autostr struct str manifest = {0};
    const char *path = json_get_string(image, "Config");
    const struct member *config = path ? members_find(m, path) : NULL;
    if (!config || intake_read(in, &config->digest, CONFIG_MAX_BYTES, &text, &length, e) != 1)
        return error_set(e, ERR_CORRUPT, "names configuration %.100s, which is not there",
                         path ? path : "of no name");
    autojson struct json_t *document = json_parse(text, length, e);
    if (!document)
        return error_prefix(e, "%.100s", path);
    str_add(&manifest, "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"config\":");
    print_descriptor(&manifest, MEDIA_CONFIG, "", config);
    str_add(&manifest, ",\"layers\":[");
    if (add_layers(in, m, json_get_array(image, "Layers"), document, &manifest, e) < 0)
        return -1;
    str_add(&manifest, "]}");
    return stage_text(in, &manifest, d, e);
}

static int check_known(const struct intake *in, const struct reference *name,
                       const struct digest *d, struct error *e)
{
    struct index_tag known;
    if (in->options->is_forced || !in->reader)
        return 0;
    int got = index_find_tag(in->reader, name->registry, name->repository, name->tag, &known, e);
    if (got < 1 || digest_equals(&known.digest, d))
        return got < 0 ? -1 : 0;
    return error_set(e, ERR_DENIED,
                     "has no registry digest for %s/%s:%s, which is known here under one: --force "
                     "replaces it",
                     name->registry, name->repository, name->tag);
}

static int add_image(struct intake *in, const struct members *m, const struct json_t *image,
                     struct error *e)
{
    struct digest d;
    struct reference name;
    const struct json_t *tags = json_get_array(image, "RepoTags");
    if (make_manifest(in, m, image, &d, e) < 0)
        return -1;
    if (json_count(tags) == 0 && !in->options->name)
        return error_set(e, ERR_USAGE, "holds an image without a name: say --name REPOSITORY");
    if (json_count(tags) == 0)
        return foreign_add(in, in->options->name, &d, MEDIA_OCI_MANIFEST, e);
    for (size_t i = 0; i < json_count(tags); i++) {
        const char *said = json_text(json_item(tags, i));
        if (reference_parse(slice_of(said ? said : ""), &name, e) < 0)
            return error_prefix(e, "manifest.json: %.100s", said ? said : "no text");
        if (check_known(in, &name, &d, e) < 0 ||
            foreign_add(in, &name, &d, MEDIA_OCI_MANIFEST, e) < 0)
            return -1;
    }
    return 0;
}

int docker_add(struct intake *in, const struct members *m, const struct json_t *list,
               struct error *e)
{
    if (!json_is_array(list))
        return error_set(e, ERR_CORRUPT, "manifest.json is no list of images");
    for (size_t i = 0; i < json_count(list); i++)
        if (add_image(in, m, json_item(list, i), e) < 0)
            return -1;
    return 0;
}
