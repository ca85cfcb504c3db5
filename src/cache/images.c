/* SPDX-License-Identifier: Apache-2.0
 * Names come from tags, from manifests that were pulled by digest, and from pins. Of each the index
 * is walked down to the blobs. A row says that content is here; the files are not looked at. */
#include "cache/images.h"

#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "cache/index.h"
#include "cache/sql.h"
#include "cache/store.h"
#include "oci/digests.h"
#include "oci/manifest.h"

enum {
    DEPTH_MAX = 4, /* of indexes within indexes */
    CONFIG_MAX_BYTES = 1 << 20
};

/* Through one image. */
struct walk {
    struct sql *sql;
    struct store *store;
    struct digests seen;
    uint64_t size_bytes;
    struct str platforms;
};

/* What a manifest names. */
struct part {
    struct digest digest;
    int64_t kind;
    int64_t size_bytes; /* -1: not here */
    bool may_lack;
    char platform[64];
};

struct parts {
    struct part *items;
    size_t count, room;
};

/* --- how much of it is here ------------------------------------------------------------------- */

static void count_once(struct walk *w, const struct digest *d, int64_t size_bytes)
{
    if (digests_add(&w->seen, d, NULL))
        w->size_bytes += (uint64_t)size_bytes;
}

static void add_platform(struct walk *w, const char *platform)
{
    if (!*platform || strcmp(platform, NO_PLATFORM) == 0)
        return;
    struct slice one, rest = slice_of(str_text(&w->platforms));
    while (slice_cut(rest, ',', &one, &rest))
        if (slice_equals(one, platform))
            return;
    if (slice_equals(rest, platform))
        return;
    str_format(&w->platforms, "%s%s", w->platforms.length > 0 ? "," : "", platform);
}

/* All at once, as the statement cannot be asked twice at a time. */
static int get_parts(struct walk *w, const struct digest *d, struct parts *out, struct error *e)
{
    autoquery struct query q = query_start(w->sql, SQL_EACH_PART);
    query_digest(&q, d);
    int got;
    while ((got = query_step(&q, e)) > 0) {
        struct part p = {.kind = query_get_integer(&q, 1), .size_bytes = query_get_integer(&q, 4)};
        struct child as_named = {.kind = (enum child_kind)p.kind,
                                 .media_type = (char *)(uintptr_t)query_get_text(&q, 2)};
        if (query_get_digest(&q, 0, &p.digest, e) < 0)
            return -1;
        p.may_lack = manifest_may_lack(&as_named);
        slice_copy(slice_of(query_get_text(&q, 3)), p.platform, sizeof p.platform);
        if (out->count == out->room) {
            out->room = out->room ? out->room * 2 : 16;
            out->items = alloc_grow(out->items, out->room, sizeof *out->items);
        }
        out->items[out->count++] = p;
    }
    return got;
}

/* "linux/arm64/v8" from the config of an image; nothing from that of anything else. */
static void read_platform(struct walk *w, const struct part *config)
{
    autoclose int fd = -1;
    uint64_t size_bytes;
    autostr struct str platform = {0};
    if (store_get(w->store, &config->digest, &fd, &size_bytes, NULL) != 1 ||
        size_bytes > CONFIG_MAX_BYTES)
        return;
    autofree char *text = alloc_zero(size_bytes + 1);
    ssize_t n = file_read_some(fd, text, size_bytes, 0, NULL);
    struct error ignored;
    autojson struct json_t *c = n < 0 ? NULL : json_parse(text, (size_t)n, &ignored);
    const char *os = c ? json_get_string(c, "os") : NULL,
               *architecture = c ? json_get_string(c, "architecture") : NULL,
               *variant = c ? json_get_string(c, "variant") : NULL;
    if (!os || !architecture || strchr(os, ',') || strchr(architecture, ','))
        return;
    str_format(&platform, "%.40s/%.40s", os, architecture);
    if (variant && *variant && !strchr(variant, ','))
        str_format(&platform, "/%.20s", variant);
    add_platform(w, str_text(&platform));
}

static int walk_down(struct walk *w, const struct digest *d, bool is_top, unsigned depth,
                     struct error *e);

/* Of an index: 1 if at least one of its manifests is whole, and none was begun that is not. */
static int walk_manifests(struct walk *w, const struct parts *all, unsigned depth, struct error *e)
{
    int whole = 0, begun = 0;
    for (size_t i = 0; i < all->count; i++) {
        const struct part *p = &all->items[i];
        if (p->kind != CHILD_MANIFEST || p->size_bytes < 0)
            continue;
        count_once(w, &p->digest, p->size_bytes);
        int got = walk_down(w, &p->digest, false, depth + 1, e);
        if (got < 0)
            return -1;
        if (got == 1)
            add_platform(w, p->platform);
        whole += got;
        begun++;
    }
    return whole > 0 && whole == begun;
}

static int walk_blobs(struct walk *w, const struct parts *all, bool is_top)
{
    bool is_whole = true;
    for (size_t i = 0; i < all->count; i++) {
        const struct part *p = &all->items[i];
        if (p->kind != CHILD_CONFIG && p->kind != CHILD_LAYER)
            continue;
        if (p->size_bytes >= 0)
            count_once(w, &p->digest, p->size_bytes);
        else
            is_whole = is_whole && p->may_lack;
    }
    for (size_t i = 0; is_whole && is_top && i < all->count; i++)
        if (all->items[i].kind == CHILD_CONFIG)
            read_platform(w, &all->items[i]);
    return is_whole;
}

/* A manifest that is here: 1 if it is whole, 0, -1. */
static int walk_down(struct walk *w, const struct digest *d, bool is_top, unsigned depth,
                     struct error *e)
{
    struct parts all = {0};
    bool is_index = false;
    int result = depth > DEPTH_MAX ? 0 : get_parts(w, d, &all, e);
    for (size_t i = 0; i < all.count; i++)
        is_index = is_index || all.items[i].kind == CHILD_MANIFEST;
    if (result == 0 && depth <= DEPTH_MAX)
        result = is_index ? walk_manifests(w, &all, depth, e) : walk_blobs(w, &all, is_top);
    free(all.items);
    return result;
}

/* Fills in what the index says of its digest: 0 or -1. */
static int look_at(struct walk *w, struct image *i, struct error *e)
{
    i->state = IMAGE_ABSENT;
    if (!i->digest.algorithm)
        return 0;
    {
        autoquery struct query q = query_start(w->sql, SQL_FIND_USE);
        query_digest(&q, &i->digest);
        int got = query_step(&q, e);
        if (got < 1)
            return got;
        count_once(w, &i->digest, query_get_integer(&q, 0));
        i->used_at = query_get_integer(&q, 1);
        i->hits = query_get_integer(&q, 2);
    }
    int whole = walk_down(w, &i->digest, true, 0, e);
    i->state = whole == 1 ? IMAGE_COMPLETE : IMAGE_PARTIAL;
    i->size_bytes = w->size_bytes;
    i->platforms = str_text(&w->platforms);
    return whole < 0 ? -1 : 0;
}

/* --- names ------------------------------------------------------------------------------------ */

static int get_name(struct query *q, struct image *out, struct error *e)
{
    int got = query_step(q, e);
    if (got < 1)
        return got;
    *out = (struct image){.registry = query_get_text(q, 0),
                          .repository = query_get_text(q, 1),
                          .tag = query_get_text(q, 2),
                          .platforms = "",
                          .is_pinned = query_get_integer(q, 4) != 0};
    bool is_known = query_get_integer(q, 5) != 0;
    return is_known && query_get_digest(q, 3, &out->digest, e) < 0 ? -1 : 1;
}

static bool is_wanted(const struct image *i, const struct images_filter *f)
{
    char digest[DIGEST_TEXT_MAX] = "";
    if (!f->reference)
        return true;
    if (i->digest.algorithm)
        digest_print(&i->digest, digest);
    return strcmp(f->reference, i->tag) == 0 || strcmp(f->reference, digest) == 0;
}

int images_each(struct index_reader *r, struct store *s, const struct images_filter *f,
                bool (*visit)(const struct image *i, void *cls), void *cls, struct error *e)
{
    int count = 0, got;
    struct image i;
    autoquery struct query q = query_start(index_reading(r), SQL_EACH_IMAGE);
    query_text(&q, f->registry);
    query_text(&q, f->repository);
    while ((got = get_name(&q, &i, e)) > 0) {
        struct walk w = {.sql = index_reading(r), .store = s};
        if (!is_wanted(&i, f))
            continue;
        int looked = look_at(&w, &i, e);
        bool goes_on = looked == 0 && visit(&i, cls);
        digests_fini(&w.seen);
        str_fini(&w.platforms);
        if (looked < 0)
            return -1;
        count++;
        if (!goes_on)
            break;
    }
    return got < 0 ? -1 : count;
}
