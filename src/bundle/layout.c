/* SPDX-License-Identifier: Apache-2.0
 * Names as containerd and podman read them: io.containerd.image.name is the whole name, ref.name
 * the tag, by which skopeo selects. */
#include "bundle/layout.h"

#include <inttypes.h>
#include <string.h>

#include "base/auto.h"
#include "base/str.h"
#include "bundle/select.h"
#include "cache/store.h"
#include "oci/digest.h"
#include "oci/manifest.h"
#include "oci/reference.h"

static void print_names(const struct selected *one, struct str *out)
{
    autostr struct str name = {0};
    str_format(&name, "%s/%s:%s", one->name.registry, one->name.repository, one->name.tag);
    str_add(out, ",\"annotations\":{\"org.opencontainers.image.ref.name\":");
    str_json(out, slice_of(one->name.tag));
    str_add(out, ",\"io.containerd.image.name\":");
    str_json(out, slice_of(str_text(&name)));
    str_add_char(out, '}');
}

void layout_print_index(const struct selection *s, struct str *out)
{
    str_add(out, "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_INDEX "\",\"manifests\":[");
    for (size_t i = 0; i < s->count; i++) {
        char digest[DIGEST_TEXT_MAX];
        const struct selected *one = &s->items[i];
        str_add(out, i ? ",{\"mediaType\":" : "{\"mediaType\":");
        str_json(out, slice_of(one->media_type));
        str_format(out, ",\"digest\":\"%s\",\"size\":%" PRIu64, digest_print(&one->digest, digest),
                   one->size_bytes);
        if (one->name.tag[0])
            print_names(one, out);
        str_add_char(out, '}');
    }
    str_add(out, "]}");
}

static void print_path(const struct digest *d, struct str *out)
{
    char hex[DIGEST_HEX_MAX];
    str_format(out, "\"blobs/%s/%s\"", digest_algorithm_name(d), digest_hex(d, hex));
}

static void print_children(const struct manifest *m, enum child_kind kind, struct str *out)
{
    const char *comma = "";
    for (size_t i = 0; i < m->child_count; i++)
        if (m->children[i].kind == kind) {
            str_add(out, comma);
            print_path(&m->children[i].digest, out);
            comma = ",";
        }
}

/* The name as docker shows it. */
static void print_familiar(const struct reference *name, struct str *out)
{
    autostr struct str text = {0};
    const char *repository = name->repository;
    if (strcmp(name->registry, "docker.io") != 0)
        str_format(&text, "%s/", name->registry);
    else if (strncmp(repository, "library/", 8) == 0)
        repository += 8;
    str_format(&text, "%s:%s", repository, name->tag);
    str_json(out, slice_of(str_text(&text)));
}

static int print_image(const struct selected *one, struct store *store, const char *before,
                       struct str *out, struct error *e)
{
    struct manifest m = {0};
    size_t length = 0;
    autofree char *bytes = NULL;
    int got = select_read_manifest(store, &one->image, "", &bytes, &length, &m, e);
    if (got < 1)
        return got;
    str_format(out, "%s{\"Config\":", before);
    print_children(&m, CHILD_CONFIG, out);
    str_add(out, ",\"RepoTags\":[");
    if (one->name.tag[0])
        print_familiar(&one->name, out);
    str_add(out, "],\"Layers\":[");
    print_children(&m, CHILD_LAYER, out);
    str_add(out, "]}");
    manifest_fini(&m);
    return 0;
}

int layout_print_docker(const struct selection *s, struct store *store, struct str *out,
                        struct error *e)
{
    const char *before = "[";
    for (size_t i = 0; i < s->count; i++) {
        if (!s->items[i].image.algorithm)
            continue;
        if (print_image(&s->items[i], store, before, out, e) < 0)
            return -1;
        before = ",";
    }
    if (out->length)
        str_add_char(out, ']');
    return 0;
}
