/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as an image's name, a repository, a tag and a registry. */
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "fuzz.h"
#include "oci/reference.h"

/* What becomes part of a path must not lead anywhere else. */
static void check_repository(struct slice name)
{
    must(name.length >= 1 && name.length <= REPOSITORY_MAX);
    must(name.at[0] != '/' && name.at[name.length - 1] != '/');
    for (size_t i = 0; i < name.length; i++) {
        char c = name.at[i], next = i + 1 < name.length ? name.at[i + 1] : '\0';
        must((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr("._-/", c)));
        must(c != '.' || next != '.');
        must(c != '/' || (next != '/' && next != '.'));
    }
}

static void check_registry(const char *registry)
{
    char again[256];
    must(registry[0]);
    for (const char *c = registry; *c; c++)
        must((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || strchr(".-:[]", *c));
    must(reference_registry(slice_of(registry), again, sizeof(again)));
    must(strcmp(registry, again) == 0);
}

/* The canonical spelling means the same thing, and is canonical. */
static void check_round_trip(const struct reference *r)
{
    autostr struct str text = {0};
    struct reference again;
    char digest[DIGEST_TEXT_MAX];
    str_format(&text, "%s/%s", r->registry, r->repository);
    if (r->tag[0])
        str_format(&text, ":%s", r->tag);
    if (r->digest.algorithm)
        str_format(&text, "@%s", digest_print(&r->digest, digest));
    must(reference_parse(slice_of(str_text(&text)), &again, NULL) == 0);
    must(strcmp(r->registry, again.registry) == 0);
    must(strcmp(r->repository, again.repository) == 0);
    must(strcmp(r->tag, again.tag) == 0);
    must(digest_equals(&r->digest, &again.digest));
}

static void check_whole(struct slice text)
{
    struct reference r;
    struct error e = {0};
    if (reference_parse(text, &r, &e) != 0) {
        must(e.kind == ERR_NAME_INVALID || e.kind == ERR_TAG_INVALID ||
             e.kind == ERR_DIGEST_INVALID);
        must(e.text[0] && !strchr(e.text, '\n'));
        return;
    }
    check_registry(r.registry);
    must(reference_is_repository(slice_of(r.repository)));
    must(r.tag[0] ? reference_is_tag(slice_of(r.tag)) : r.digest.algorithm != 0);
    check_round_trip(&r);
    if (r.digest.algorithm) {
        char tag[TAG_MAX + 1];
        reference_fallback_tag(&r.digest, tag);
        must(reference_is_tag(slice_of(tag)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    char registry[256];
    check_whole(text);
    if (reference_is_repository(text))
        check_repository(text);
    if (reference_is_tag(text))
        must(size <= TAG_MAX && !memchr(data, '/', size) && data[0] != '.');
    if (reference_registry(text, registry, sizeof(registry)))
        check_registry(registry);
    return 0;
}
