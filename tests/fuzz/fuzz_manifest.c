/* SPDX-License-Identifier: Apache-2.0
 * First line the Content-Type (empty: none), the rest the document. */
#include <string.h>

#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "fuzz.h"
#include "oci/manifest.h"

static void check_type(const struct manifest *m)
{
    char again[MEDIA_TYPE_MAX + 1];
    must(manifest_plain_type(slice_of(m->media_type), again));
    must(strcmp(m->media_type, again) == 0);
    must(strchr(m->media_type, '/') && !strpbrk(m->media_type, " \r\n\t,;"));
    must(strcmp(m->media_type, "text/html") != 0);
    must(strcmp(m->media_type, "application/json") != 0);
    must(
        !slice_starts(slice_of(m->media_type), "application/vnd.docker.distribution.manifest.v1+"));
}

static void check_children(const struct manifest *m)
{
    bool is_known = manifest_is_known_type(m->media_type);
    must(m->child_count <= 10000);
    for (size_t i = 0; i < m->child_count; i++) {
        const struct child *c = &m->children[i];
        char text[DIGEST_TEXT_MAX];
        struct digest again;
        must(c->digest.algorithm == DIGEST_SHA256 || c->digest.algorithm == DIGEST_SHA512);
        must(digest_parse(slice_of(digest_print(&c->digest, text)), &again) == 1);
        must(digest_equals(&c->digest, &again));
        must(c->size_bytes >= -1);
        must(c->media_type && c->platform);
        must(m->is_index || c->kind != CHILD_MANIFEST);
        must(!m->is_index || !is_known || c->kind == CHILD_MANIFEST || c->kind == CHILD_SUBJECT);
    }
}

static void check_annotations(const struct manifest *m)
{
    if (!m->annotations[0])
        return;
    autojson struct json_t *annotations = json_parse(m->annotations, strlen(m->annotations), NULL);
    must(json_is_object(annotations));
}

/* The type decided upon, given as the Content-Type, leads to the same reading. */
static void check_again(const struct manifest *m, struct slice document)
{
    struct manifest again;
    must(manifest_parse(m->media_type, document.at, document.length, &again, NULL) == 0);
    must(strcmp(m->media_type, again.media_type) == 0);
    must(m->is_index == again.is_index && m->child_count == again.child_count);
    must(strcmp(m->artifact_type, again.artifact_type) == 0);
    manifest_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice type = {NULL, 0}, document = {(const char *)data, size};
    struct manifest m;
    struct error e = {0};
    slice_cut(document, '\n', &type, &document);
    autofree char *content_type = type.length ? slice_dup(type) : NULL;
    if (manifest_parse(content_type, document.at, document.length, &m, &e) != 0) {
        must(e.kind == ERR_CORRUPT || e.kind == ERR_NOT_FOUND);
        must(e.text[0]);
        return 0;
    }
    check_type(&m);
    check_children(&m);
    check_annotations(&m);
    check_again(&m, document);
    manifest_fini(&m);
    return 0;
}
