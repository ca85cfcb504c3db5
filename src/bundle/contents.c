/* SPDX-License-Identifier: Apache-2.0
 * bundle.json to and from a value. A stranger writes this text: every name is checked before it is
 * used as one. */
#include "bundle/contents.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "oci/manifest.h"
#include "oci/reference.h"

#define SCHEMA "tranship-bundle/1"

static const char *const file_names[CONTENTS_FILES_MAX] = {"oci-layout", "index.json",
                                                           "manifest.json"};

/* --- building --------------------------------------------------------------------------------- */

bool blob_list_add(struct blob_list *l, const struct digest *d, uint64_t size_bytes)
{
    size_t number = 0;
    if (!digests_add(&l->digests, d, &number))
        return false;
    if (l->digests.room > l->room) {
        l->room = l->digests.room;
        l->sizes = alloc_grow(l->sizes, l->room, sizeof *l->sizes);
    }
    l->sizes[number] = size_bytes;
    return true;
}

uint64_t blob_list_bytes(const struct blob_list *l)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < l->digests.count; i++)
        sum += l->sizes[i];
    return sum;
}

static void blob_list_fini(struct blob_list *l)
{
    digests_fini(&l->digests);
    free(l->sizes);
    *l = (struct blob_list){0};
}

/* A set of names as a set of digests: no more code, and nobody can choose names that collide. */
static bool add_key(struct digests *keys, const char *first, const char *second, size_t *number)
{
    struct digest d;
    autostr struct str key = {0};
    str_format(&key, "%s/%s", first, second);
    digest_of(DIGEST_SHA256, key.text, key.length, &d);
    return digests_add(keys, &d, number);
}

struct contents_repository *contents_repository(struct contents *c, const char *registry,
                                                const char *name)
{
    size_t number = 0;
    if (add_key(&c->repository_keys, registry, name, &number)) {
        if ((number & (number - 1)) == 0) /* room for the next power of two */
            c->repositories =
                alloc_grow(c->repositories, number ? number * 2 : 1, sizeof *c->repositories);
        c->repositories[number] = (struct contents_repository){.registry = alloc_string(registry),
                                                               .name = alloc_string(name)};
        c->repository_count++;
    }
    return &c->repositories[number];
}

bool contents_add_manifest(struct contents_repository *r, const struct digest *d,
                           const char *media_type)
{
    size_t before = r->manifests.room;
    if (!digests_add(&r->manifests, d, NULL))
        return false;
    if (r->manifests.room > before)
        r->media_types = alloc_grow(r->media_types, r->manifests.room, sizeof *r->media_types);
    r->media_types[r->manifests.count - 1] = alloc_string(media_type);
    return true;
}

int contents_add_tag(struct contents_repository *r, const char *name, const struct digest *d)
{
    size_t number = 0;
    if (!add_key(&r->tag_keys, "", name, &number))
        return digest_equals(&r->tags[number].digest, d) ? 0 : -1;
    if ((number & (number - 1)) == 0)
        r->tags = alloc_grow(r->tags, number ? number * 2 : 1, sizeof *r->tags);
    r->tags[r->tag_count++] = (struct contents_tag){.name = alloc_string(name), .digest = *d};
    return 1;
}

void contents_add_file(struct contents *c, const char *name, const void *bytes, size_t length)
{
    struct contents_file *f = &c->files[c->file_count++];
    *f = (struct contents_file){.size_bytes = length};
    slice_copy(slice_of(name), f->name, sizeof f->name);
    digest_of(DIGEST_SHA256, bytes, length, &f->digest);
}

size_t contents_tag_count(const struct contents *c)
{
    size_t sum = 0;
    for (size_t i = 0; i < c->repository_count; i++)
        sum += c->repositories[i].tag_count;
    return sum;
}

void contents_fini(struct contents *c)
{
    for (size_t i = 0; i < c->repository_count; i++) {
        struct contents_repository *r = &c->repositories[i];
        for (size_t k = 0; k < r->tag_count; k++)
            free(r->tags[k].name);
        for (size_t k = 0; k < r->manifests.count; k++)
            free(r->media_types[k]);
        free(r->tags);
        free(r->media_types);
        digests_fini(&r->manifests);
        digests_fini(&r->tag_keys);
        free(r->registry);
        free(r->name);
    }
    free(c->repositories);
    digests_fini(&c->repository_keys);
    blob_list_fini(&c->blobs);
    blob_list_fini(&c->absent);
    free(c->site);
    free(c->created_at);
    free(c->receipt_site);
    free(c->receipt_at);
    *c = (struct contents){0};
}

/* --- printing --------------------------------------------------------------------------------- */

static void print_pair(struct str *out, const char *key, const char *value)
{
    str_format(out, "\"%s\":", key);
    str_json(out, slice_of(value));
}

static void print_digest(struct str *out, const struct digest *d)
{
    char text[DIGEST_TEXT_MAX];
    str_format(out, "\"digest\":\"%s\"", digest_print(d, text));
}

static void print_blobs(struct str *out, const char *key, const struct blob_list *l)
{
    str_format(out, ",\n\"%s\":[", key);
    for (size_t i = 0; i < l->digests.count; i++) {
        str_add(out, i ? ",\n{" : "\n{");
        print_digest(out, &l->digests.items[i]);
        str_format(out, ",\"size\":%" PRIu64 "}", l->sizes[i]);
    }
    str_add(out, "]");
}

static void print_repository(struct str *out, const struct contents_repository *r)
{
    print_pair(out, "registry", r->registry);
    str_add_char(out, ',');
    print_pair(out, "name", r->name);
    str_add(out, ",\"tags\":[");
    for (size_t i = 0; i < r->tag_count; i++) {
        str_add(out, i ? ",{" : "{");
        print_pair(out, "name", r->tags[i].name);
        str_add_char(out, ',');
        print_digest(out, &r->tags[i].digest);
        str_add_char(out, '}');
    }
    str_add(out, "],\"manifests\":[");
    for (size_t i = 0; i < r->manifests.count; i++) {
        str_add(out, i ? ",{" : "{");
        print_digest(out, &r->manifests.items[i]);
        str_add_char(out, ',');
        print_pair(out, "type", r->media_types[i]);
        str_add_char(out, '}');
    }
    str_add(out, "]");
}

void contents_print(const struct contents *c, struct str *out)
{
    str_add(out, "{\"schema\":\"" SCHEMA "\",");
    print_pair(out, "site", c->site);
    str_add_char(out, ',');
    print_pair(out, "created_at", c->created_at);
    str_format(out, ",\"volume_size\":%" PRIu64, c->volume_bytes);
    if (c->receipt.algorithm) {
        str_add(out, ",\n\"receipt\":{");
        print_pair(out, "site", c->receipt_site);
        str_add_char(out, ',');
        print_pair(out, "created_at", c->receipt_at);
        str_add_char(out, ',');
        print_digest(out, &c->receipt);
        str_add_char(out, '}');
    }
    str_add(out, ",\n\"files\":[");
    for (size_t i = 0; i < c->file_count; i++) {
        str_add(out, i ? ",{" : "{");
        print_pair(out, "name", c->files[i].name);
        str_add_char(out, ',');
        print_digest(out, &c->files[i].digest);
        str_format(out, ",\"size\":%" PRIu64 "}", c->files[i].size_bytes);
    }
    str_add(out, "],\n\"repositories\":[");
    for (size_t i = 0; i < c->repository_count; i++) {
        str_add(out, i ? ",\n{" : "\n{");
        print_repository(out, &c->repositories[i]);
        str_add_char(out, '}');
    }
    str_add(out, "]");
    print_blobs(out, "blobs", &c->blobs);
    print_blobs(out, "absent", &c->absent);
    str_add(out, "}\n");
}

/* --- parsing ---------------------------------------------------------------------------------- */

static int corrupt(struct error *e, const char *what, const char *name)
{
    return error_set(e, ERR_CORRUPT, "bundle.json: %s%s%.100s", what, name ? " " : "",
                     name ? name : "");
}

static int parse_digest(const struct json_t *object, struct digest *out, struct error *e)
{
    const char *text = json_get_string(object, "digest");
    if (!text || digest_parse(slice_of(text), out) != 1)
        return corrupt(e, "no digest that can be checked:", text);
    return 0;
}

static int parse_size(const struct json_t *object, uint64_t max, uint64_t *out, struct error *e)
{
    int64_t size = -1;
    if (!json_get_integer(object, "size", &size) || size < 0 || (uint64_t)size > max)
        return corrupt(e, "no size, or one beyond any disk", NULL);
    *out = (uint64_t)size;
    return 0;
}

static int parse_text(const struct json_t *object, const char *key, char **out, struct error *e)
{
    const char *text = json_get_string(object, key);
    if (!text || strlen(text) > REPOSITORY_MAX)
        return corrupt(e, "no", key);
    *out = alloc_string(text);
    return 0;
}

static int parse_receipt(const struct json_t *document, struct contents *c, struct error *e)
{
    const struct json_t *receipt = json_get(document, "receipt");
    if (!receipt)
        return 0;
    if (parse_text(receipt, "site", &c->receipt_site, e) < 0 ||
        parse_text(receipt, "created_at", &c->receipt_at, e) < 0)
        return -1;
    return parse_digest(receipt, &c->receipt, e);
}

static int parse_files(const struct json_t *document, struct contents *c, struct error *e)
{
    const struct json_t *files = json_get_array(document, "files");
    if (json_count(files) > CONTENTS_FILES_MAX)
        return corrupt(e, "too many files", NULL);
    for (size_t i = 0, next = 0; i < json_count(files); i++) {
        const struct json_t *one = json_item(files, i);
        const char *name = json_get_string(one, "name");
        struct contents_file *f = &c->files[i];
        while (next < CONTENTS_FILES_MAX && (!name || strcmp(name, file_names[next]) != 0))
            next++;
        if (next == CONTENTS_FILES_MAX)
            return corrupt(e, "a file that is none of a bundle's, or not in its place:", name);
        slice_copy(slice_of(file_names[next++]), f->name, sizeof f->name);
        if (parse_digest(one, &f->digest, e) < 0 ||
            parse_size(one, CONTENTS_FILE_MAX_BYTES, &f->size_bytes, e) < 0)
            return -1;
        c->file_count++;
    }
    return 0;
}

static int parse_blobs(const struct json_t *document, const char *key, struct blob_list *l,
                       struct error *e)
{
    const struct json_t *blobs = json_get_array(document, key);
    uint64_t sum = 0;
    for (size_t i = 0; i < json_count(blobs); i++) {
        struct digest d;
        uint64_t size_bytes = 0;
        const struct json_t *one = json_item(blobs, i);
        if (parse_digest(one, &d, e) < 0 || parse_size(one, BLOB_MAX_BYTES, &size_bytes, e) < 0)
            return -1;
        sum += size_bytes;
        if (sum > BLOB_MAX_BYTES)
            return corrupt(e, "sizes beyond any disk", NULL);
        if (!blob_list_add(l, &d, size_bytes))
            return corrupt(e, "named twice:", json_get_string(one, "digest"));
    }
    return 0;
}

static int check_manifest(const struct contents *c, const struct digest *d, const char *text,
                          struct error *e)
{
    const struct blob_list *l = &c->blobs;
    size_t number = digests_find(&l->digests, d);
    if (number == DIGESTS_NONE) {
        l = &c->absent;
        number = digests_find(&l->digests, d);
    }
    if (number == DIGESTS_NONE)
        return corrupt(e, "a manifest that is not there:", text);
    if (l->sizes[number] > MANIFEST_MAX_BYTES)
        return corrupt(e, "a manifest that is too large:", text);
    return 0;
}

static int parse_manifests(const struct json_t *from, const struct contents *c,
                           struct contents_repository *r, struct error *e)
{
    const struct json_t *manifests = json_get_array(from, "manifests");
    for (size_t i = 0; i < json_count(manifests); i++) {
        struct digest d;
        const struct json_t *one = json_item(manifests, i);
        const char *type = json_get_string(one, "type");
        if (parse_digest(one, &d, e) < 0)
            return -1;
        const char *text = json_get_string(one, "digest");
        char plain[MEDIA_TYPE_MAX + 1] = "";
        if (!type || (*type && !manifest_plain_type(slice_of(type), plain)))
            return corrupt(e, "a manifest without a type:", text);
        if (check_manifest(c, &d, text, e) < 0)
            return -1;
        if (!contents_add_manifest(r, &d, plain))
            return corrupt(e, "a manifest named twice:", text);
    }
    return 0;
}

static int parse_tags(const struct json_t *from, struct contents_repository *r, struct error *e)
{
    const struct json_t *tags = json_get_array(from, "tags");
    for (size_t i = 0; i < json_count(tags); i++) {
        struct digest d;
        const struct json_t *one = json_item(tags, i);
        const char *name = json_get_string(one, "name");
        if (!name || !reference_is_tag(slice_of(name)))
            return corrupt(e, "this is no tag:", name);
        if (parse_digest(one, &d, e) < 0)
            return -1;
        if (!digests_has(&r->manifests, &d))
            return corrupt(e, "a tag of no manifest:", name);
        if (contents_add_tag(r, name, &d) != 1)
            return corrupt(e, "a tag named twice:", name);
    }
    return 0;
}

static int parse_repositories(const struct json_t *document, struct contents *c, struct error *e)
{
    const struct json_t *list = json_get_array(document, "repositories");
    for (size_t i = 0; i < json_count(list); i++) {
        char registry[256];
        const struct json_t *one = json_item(list, i);
        const char *host = json_get_string(one, "registry");
        const char *name = json_get_string(one, "name");
        if (!host || !reference_registry(slice_of(host), registry, sizeof registry) ||
            strcmp(host, registry) != 0)
            return corrupt(e, "this is no registry:", host);
        if (!name || !reference_is_repository(slice_of(name)))
            return corrupt(e, "this is no repository:", name);
        size_t before = c->repository_count;
        struct contents_repository *r = contents_repository(c, registry, name);
        if (c->repository_count == before)
            return corrupt(e, "a repository named twice:", name);
        if (parse_manifests(one, c, r, e) < 0 || parse_tags(one, r, e) < 0)
            return -1;
    }
    return 0;
}

static int parse(const struct json_t *document, struct contents *c, struct error *e)
{
    int64_t volume_bytes = 0;
    const char *schema = json_get_string(document, "schema");
    if (!schema || strcmp(schema, SCHEMA) != 0)
        return corrupt(e, "the schema is not " SCHEMA ", but", schema ? schema : "none");
    if (!json_get_integer(document, "volume_size", &volume_bytes) || volume_bytes < 0)
        return corrupt(e, "no volume_size", NULL);
    c->volume_bytes = (uint64_t)volume_bytes;
    if (parse_text(document, "site", &c->site, e) < 0 ||
        parse_text(document, "created_at", &c->created_at, e) < 0 ||
        parse_receipt(document, c, e) < 0 || parse_files(document, c, e) < 0 ||
        parse_blobs(document, "blobs", &c->blobs, e) < 0 ||
        parse_blobs(document, "absent", &c->absent, e) < 0)
        return -1;
    for (size_t i = 0; i < c->absent.digests.count; i++)
        if (digests_has(&c->blobs.digests, &c->absent.digests.items[i]))
            return corrupt(e, "a blob that is both there and left out", NULL);
    return parse_repositories(document, c, e);
}

int contents_parse(const char *bytes, size_t length, struct contents *out, struct error *e)
{
    struct contents c = {0};
    if (length > CONTENTS_MAX_BYTES)
        return corrupt(e, "larger than 32 MiB", NULL);
    autojson struct json_t *document = json_parse(bytes, length, e);
    if (!document)
        return error_prefix(e, "bundle.json");
    if (!json_is_object(document))
        return corrupt(e, "no JSON object", NULL);
    if (parse(document, &c, e) < 0) {
        contents_fini(&c);
        return -1;
    }
    *out = c;
    return 0;
}
