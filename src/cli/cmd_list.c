/* SPDX-License-Identifier: Apache-2.0
 * tranship list: what is held. Reads the index beside whoever owns it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json_write.h"
#include "base/str.h"
#include "cache/images.h"
#include "cache/index.h"
#include "cache/store.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "cli/table.h"
#include "oci/reference.h"

static const char *state_name(enum image_state s)
{
    static const char *const names[] = {"complete", "partial", "absent"};
    return names[s];
}

static void full_name(const struct image *i, struct str *out)
{
    char digest[DIGEST_TEXT_MAX];
    if (*i->repository)
        str_format(out, "%s/%s", i->registry, i->repository);
    if (*i->tag)
        str_format(out, ":%s", i->tag);
    else
        str_format(out, "@%s", digest_print(&i->digest, digest));
}

/* --- as JSON ---------------------------------------------------------------------------------- */

static void write_platforms(const struct image *i, struct str *out)
{
    struct slice one, rest = slice_of(i->platforms);
    json_write_open(out, "platforms", '[');
    while (rest.length > 0) {
        if (!slice_cut(rest, ',', &one, &rest)) {
            one = rest;
            rest.length = 0;
        }
        autofree char *platform = slice_dup(one);
        json_write_text(out, NULL, platform);
    }
    json_write_close(out, ']');
}

static bool write_image(const struct image *i, void *cls)
{
    struct str *out = cls;
    char digest[DIGEST_TEXT_MAX], when[24];
    autostr struct str name = {0};
    full_name(i, &name);
    json_write_open(out, NULL, '{');
    json_write_text(out, "image", str_text(&name));
    json_write_text(out, "registry", *i->registry ? i->registry : NULL);
    json_write_text(out, "repository", *i->repository ? i->repository : NULL);
    json_write_text(out, "tag", *i->tag ? i->tag : NULL);
    json_write_text(out, "digest", i->digest.algorithm ? digest_print(&i->digest, digest) : NULL);
    write_platforms(i, out);
    json_write_number(out, "size", (int64_t)i->size_bytes);
    json_write_text(out, "last_pulled", i->used_at > 0 ? clock_format(i->used_at, when) : NULL);
    json_write_number(out, "hits", i->hits);
    json_write_bool(out, "is_pinned", i->is_pinned);
    json_write_text(out, "state", state_name(i->state));
    json_write_close(out, '}');
    return true;
}

/* --- as a table ------------------------------------------------------------------------------- */

enum { DIGEST_SHOWN = 19 };

static const char *const heads[] = {"IMAGE", "DIGEST", "PLATFORMS", ">SIZE", "LAST PULLED",
                                    ">HITS", "PINNED", "STATE",     NULL};

static bool add_image(const struct image *i, void *cls)
{
    struct table *t = cls;
    char digest[DIGEST_TEXT_MAX] = "-", when[24] = "-", hits[24];
    autostr struct str name = {0}, size = {0};
    full_name(i, &name);
    show_bytes(&size, (int64_t)i->size_bytes);
    snprintf(hits, sizeof hits, "%" PRId64, i->hits);
    if (i->digest.algorithm)
        digest_print(&i->digest, digest);
    if (i->used_at > 0)
        clock_format(i->used_at, when);
    digest[DIGEST_SHOWN] = '\0'; /* the whole of it stands in the JSON */
    const char *const cells[] = {str_text(&name),
                                 digest,
                                 *i->platforms ? i->platforms : "-",
                                 str_text(&size),
                                 when,
                                 hits,
                                 i->is_pinned ? "yes" : "-",
                                 state_name(i->state)};
    for (size_t k = 0; k < sizeof cells / sizeof *cells; k++)
        table_add(t, cells[k]);
    return true;
}

/* --- the command ------------------------------------------------------------------------------ */

/* A name with neither tag nor digest means all of its repository. */
static bool is_repository(const char *name)
{
    const char *last = strrchr(name, '/');
    return !strpbrk(last ? last : name, ":@");
}

struct listing {
    struct store *store;
    struct index_reader *reader;
    bool (*visit)(const struct image *i, void *cls);
    void *cls;
};

static int list_one(const struct listing *l, const char *name, struct error *e)
{
    struct reference image;
    char digest[DIGEST_TEXT_MAX];
    if (reference_parse(slice_of(name), &image, e) < 0) {
        e->kind = ERR_USAGE; /* the command line's mistake */
        return -1;
    }
    const struct images_filter f = {.registry = image.registry,
                                    .repository = image.repository,
                                    .reference = is_repository(name) ? NULL
                                                 : image.digest.algorithm
                                                     ? digest_print(&image.digest, digest)
                                                     : image.tag};
    int found = images_each(l->reader, l->store, &f, l->visit, l->cls, e);
    if (found == 0)
        return error_set(e, ERR_NOT_FOUND, "nothing is held of %s/%s%s%s", image.registry,
                         image.repository, f.reference ? ", " : "", f.reference ? f.reference : "");
    return found < 0 ? -1 : 0;
}

static int list_all(const struct listing *l, char **names, int count, struct error *e)
{
    const struct images_filter all = {.reference = NULL};
    if (count == 0)
        return images_each(l->reader, l->store, &all, l->visit, l->cls, e) < 0 ? -1 : 0;
    for (int i = 0; i < count; i++)
        if (list_one(l, names[i], e) < 0)
            return -1;
    return 0;
}

static int list(const char *data, char **names, int count, bool is_json, struct error *e)
{
    autostr struct str out = {0};
    autotable struct table t = {.heads = heads};
    struct listing l = {.store = store_open_beside(data, e), .visit = add_image, .cls = &t};
    if (is_json) {
        l.visit = write_image;
        l.cls = &out;
        json_write_open(&out, NULL, '{');
        json_write_open(&out, "images", '[');
    }
    l.reader = l.store ? index_reader_open_beside(l.store, e) : NULL;
    int result = l.reader ? list_all(&l, names, count, e) : -1;
    index_reader_close(l.reader);
    store_close(l.store);
    if (result < 0)
        return -1;
    if (is_json)
        str_add(&out, "]}\n");
    else
        table_print(&t, &out);
    return show_print(&out, e);
}

int cmd_list(int argc, char **argv)
{
    struct error e = {0};
    bool is_json = false;
    const struct argument table[] = {{"--json", NULL, "as JSON, for programs", NULL, &is_json}};
    struct arguments a = {
        .usage = "list [IMAGE…]\n\nTells what is held: every image, or all of a repository "
                 "(alpine), or one (alpine:3). An image is complete\nif what of it was begun is "
                 "whole, for the platforms that are told; a pinned name may have nothing yet.",
        .table = table,
        .count = 1};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    if (rest < 0)
        return arguments_fail(&e);
    autofree char *data = arguments_data(&a);
    if (!data)
        return 2;
    return list(data, argv, rest, is_json, &e) < 0 ? arguments_fail(&e) : 0;
}
