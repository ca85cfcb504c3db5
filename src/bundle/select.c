/* SPDX-License-Identifier: Apache-2.0
 * Walks from the images asked for down to their layers and up to what refers to them. An index
 * keeps its bytes: children that are not taken along are simply absent. First it is made sure that
 * an image is whole, then it is added: nothing is taken halfway. */
#include "bundle/select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "bundle/contents.h"
#include "bundle/platform.h"
#include "bundle/receipt.h"
#include "cache/index.h"
#include "cache/store.h"
#include "oci/manifest.h"

#define DEPTH_MAX 8 /* of indexes in indexes, and of referrers of referrers */
#define PAGE 1000   /* names asked of the index at once */

/* Held manifests that were looked into: an index may name the same ones any number of times, and
 * those again. */
struct judged {
    struct digests digests;
    char **lacks; /* of each: what is missing, or NULL: it is whole */
    size_t room;
};

struct walk {
    const struct select_options *options;
    struct store *store;
    struct index_reader *reader;
    struct selection *out;
    struct contents *contents;
    struct reference at; /* where we are */
    struct judged judged;
};

void selection_fini(struct selection *s)
{
    free(s->items);
    *s = (struct selection){0};
}

static void note(const struct walk *w, const char *format, const char *what, const char *why)
{
    autofree char *line = alloc_format(format, w->at.registry, w->at.repository, what, why);
    if (w->options->note)
        w->options->note(line, w->options->cls);
}

int select_read_manifest(struct store *s, const struct digest *d, const char *media_type,
                         char **bytes, size_t *length, struct manifest *m, struct error *e)
{
    char name[DIGEST_TEXT_MAX];
    uint64_t size_bytes = 0;
    autoclose int fd = -1;
    struct digest counted;
    int got = store_get(s, d, &fd, &size_bytes, e);
    if (got < 1)
        return got;
    if (size_bytes > MANIFEST_MAX_BYTES)
        return error_set(e, ERR_CORRUPT, "manifest %s is too large", digest_print(d, name));
    autofree char *text = alloc_zero(size_bytes + 1);
    ssize_t n = file_read_some(fd, text, size_bytes, 0, e);
    if (n < 0)
        return -1;
    digest_of((enum digest_algorithm)d->algorithm, text, (size_t)n, &counted);
    if (!digest_equals(&counted, d))
        return error_set(e, ERR_CORRUPT, "blob %s is not what its name says",
                         digest_print(d, name));
    if (manifest_parse(*media_type ? media_type : NULL, text, (size_t)n, m, e) < 0)
        return error_prefix(e, "%s", digest_print(d, name));
    *bytes = take(text);
    *length = (size_t)n;
    return 1;
}

/* A held manifest of this repository. */
static int read_held(const struct walk *w, const struct digest *d, struct manifest *m,
                     size_t *length, struct error *e)
{
    struct index_manifest known = {0};
    autofree char *bytes = NULL;
    if (index_find_manifest(w->reader, d, &known, e) < 0)
        return -1;
    return select_read_manifest(w->store, d, known.media_type, &bytes, length, m, e);
}

/* --- is it whole? ----------------------------------------------------------------------------- */

/* 1 all of it is held, 0 not (why says what is missing), -1. Of an index: at least one image. */
static int is_whole(struct walk *w, const struct digest *d, unsigned depth, struct error *why,
                    struct error *e);

static int is_image_whole(const struct walk *w, const struct digest *d, const struct manifest *m,
                          struct error *why)
{
    size_t missing = 0, all = 0;
    char text[DIGEST_TEXT_MAX];
    for (size_t i = 0; i < m->child_count; i++) {
        const struct child *c = &m->children[i];
        if (c->kind != CHILD_CONFIG && c->kind != CHILD_LAYER)
            continue;
        all++;
        missing += !store_has(w->store, &c->digest, NULL) && !manifest_may_lack(c);
    }
    if (!missing)
        return 1;
    error_set(why, ERR_NOT_FOUND, "%zu of %zu blobs of %s are not held: pull the image first",
              missing, all, digest_print(d, text));
    return 0;
}

static bool platform_is_held(struct walk *w, const struct manifest *m, const char *platform)
{
    struct error ignored = {0};
    for (size_t i = 0; i < m->child_count; i++) {
        const struct child *c = &m->children[i];
        if (c->kind == CHILD_MANIFEST && platform_is(c->platform, platform) &&
            is_whole(w, &c->digest, 1, &ignored, &ignored) == 1)
            return true;
    }
    return false;
}

static int is_index_whole(struct walk *w, const struct manifest *m, unsigned depth,
                          struct error *why, struct error *e)
{
    int whole = 0;
    for (const char *const *p = w->options->platforms; p && *p; p++)
        if (!platform_is_held(w, m, *p)) {
            error_set(why, ERR_NOT_FOUND, "%s is not held whole: pull the image first", *p);
            return 0;
        }
    for (size_t i = 0; i < m->child_count; i++) {
        const struct child *c = &m->children[i];
        if (c->kind != CHILD_MANIFEST || !platform_is_wanted(c->platform, w->options->platforms))
            continue;
        int got = is_whole(w, &c->digest, depth + 1, why, e);
        if (got < 0)
            return -1;
        whole += got;
    }
    return whole > 0 || m->child_count == 0;
}

static void note_judged(struct judged *j, const struct digest *d, const char *lacks)
{
    size_t number = 0;
    if (!digests_add(&j->digests, d, &number))
        return;
    if (number == j->room) {
        j->room = j->room ? 2 * j->room : 16;
        j->lacks = alloc_grow(j->lacks, j->room, sizeof *j->lacks);
    }
    j->lacks[number] = lacks ? alloc_string(lacks) : NULL;
}

static void judged_fini(struct judged *j)
{
    for (size_t i = 0; i < j->digests.count; i++)
        free(j->lacks[i]);
    free(j->lacks);
    digests_fini(&j->digests);
}

static int is_whole(struct walk *w, const struct digest *d, unsigned depth, struct error *why,
                    struct error *e)
{
    struct manifest m = {0};
    size_t length = 0, number = digests_find(&w->judged.digests, d);
    char text[DIGEST_TEXT_MAX];
    if (number < w->judged.digests.count) {
        if (w->judged.lacks[number])
            error_set(why, ERR_NOT_FOUND, "%s", w->judged.lacks[number]);
        return !w->judged.lacks[number];
    }
    if (depth > DEPTH_MAX)
        return error_set(e, ERR_CORRUPT, "indexes are nested deeper than %d", DEPTH_MAX);
    int got = read_held(w, d, &m, &length, e);
    if (got == 0)
        error_set(why, ERR_NOT_FOUND, "%s is not held: pull the image first",
                  digest_print(d, text));
    if (got < 1)
        return got;
    got = m.is_index ? is_index_whole(w, &m, depth, why, e) : is_image_whole(w, d, &m, why);
    manifest_fini(&m);
    if (got >= 0)
        note_judged(&w->judged, d, got == 1 ? NULL : why->text);
    return got;
}

/* --- adding ----------------------------------------------------------------------------------- */

static void add_blob(struct walk *w, const struct digest *d, uint64_t size_bytes)
{
    bool is_there = w->options->since && digests_has(&w->options->since->blobs, d);
    blob_list_add(is_there ? &w->contents->absent : &w->contents->blobs, d, size_bytes);
}

static struct contents_repository *here(struct walk *w)
{
    return contents_repository(w->contents, w->at.registry, w->at.repository);
}

static int add_manifest(struct walk *w, const struct digest *d, unsigned depth, struct error *e);

static int add_blobs_of(struct walk *w, const struct manifest *m, struct error *e)
{
    char text[DIGEST_TEXT_MAX];
    for (size_t i = 0; i < m->child_count; i++) {
        const struct child *c = &m->children[i];
        uint64_t size_bytes = 0;
        if (c->kind != CHILD_CONFIG && c->kind != CHILD_LAYER)
            continue;
        if (store_has(w->store, &c->digest, &size_bytes))
            add_blob(w, &c->digest, size_bytes);
        else if (!manifest_may_lack(c)) /* it was there when it was found whole */
            return error_set(e, ERR_NOT_FOUND, "blob %s went away meanwhile",
                             digest_print(&c->digest, text));
    }
    return 0;
}

static int add_children_of(struct walk *w, const struct manifest *m, unsigned depth,
                           struct error *e)
{
    for (size_t i = 0; i < m->child_count; i++) {
        const struct child *c = &m->children[i];
        struct error why = {0};
        if (c->kind != CHILD_MANIFEST || !platform_is_wanted(c->platform, w->options->platforms))
            continue;
        int got = is_whole(w, &c->digest, depth + 1, &why, e);
        if (got < 0 || (got == 1 && add_manifest(w, &c->digest, depth + 1, e) < 0))
            return -1;
        if (got == 0 && store_has(w->store, &c->digest, NULL))
            note(w, "%s/%s: %s is left out: %s", c->platform, why.text);
    }
    return 0;
}

static bool note_digest(const struct digest *d, uint64_t size_bytes, const char *media_type,
                        const char *artifact_type, const char *annotations, void *cls)
{
    (void)size_bytes, (void)media_type, (void)artifact_type, (void)annotations;
    digests_add(cls, d, NULL);
    return true;
}

/* One that is not whole says nothing against the image that it speaks of. */
static int add_beside(struct walk *w, const struct digest *d, unsigned depth, bool *is_added,
                      struct error *e)
{
    struct error why = {0};
    char text[DIGEST_TEXT_MAX];
    int got = is_whole(w, d, 0, &why, e);
    *is_added = got == 1;
    if (got == 0)
        note(w, "%s/%s: referrer %s is left out: %s", digest_print(d, text), why.text);
    return got == 1 ? add_manifest(w, d, depth, e) : got;
}

static int add_tags_of(struct walk *w, const struct digest *d, unsigned depth, struct error *e)
{
    static const char *const suffixes[] = {"", ".sig", ".att", ".sbom"};
    char fallback[TAG_MAX + 1];
    reference_fallback_tag(d, fallback);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        struct index_tag tag;
        char name[TAG_MAX + 8];
        bool is_added = false;
        snprintf(name, sizeof name, "%s%s", fallback, suffixes[i]);
        int got = index_find_tag(w->reader, w->at.registry, w->at.repository, name, &tag, e);
        if (got < 0 || (got == 1 && add_beside(w, &tag.digest, depth, &is_added, e) < 0))
            return -1;
        if (is_added)
            contents_add_tag(here(w), name, &tag.digest);
    }
    return 0;
}

static int add_referrers_of(struct walk *w, const struct digest *d, unsigned depth, struct error *e)
{
    autodigests struct digests found = {0};
    if (index_each_referrer(w->reader, w->at.registry, w->at.repository, d, note_digest, &found,
                            e) < 0)
        return -1;
    for (size_t i = 0; i < found.count; i++) {
        bool is_added = false;
        if (add_beside(w, &found.items[i], depth, &is_added, e) < 0)
            return -1;
    }
    return add_tags_of(w, d, depth, e);
}

static int add_manifest(struct walk *w, const struct digest *d, unsigned depth, struct error *e)
{
    struct manifest m = {0};
    size_t length = 0;
    if (depth > 2 * DEPTH_MAX || digests_has(&here(w)->manifests, d))
        return 0;
    int got = read_held(w, d, &m, &length, e);
    if (got < 1) /* it was there a moment ago */
        return got < 0 ? -1 : error_set(e, ERR_NOT_FOUND, "a manifest went away meanwhile");
    contents_add_manifest(here(w), d, m.media_type);
    add_blob(w, d, length);
    got = add_blobs_of(w, &m, e);
    if (got == 0)
        got = add_children_of(w, &m, depth, e);
    manifest_fini(&m);
    if (got == 0 && w->options->has_referrers)
        got = add_referrers_of(w, d, depth + 1, e);
    return got;
}

/* --- images ----------------------------------------------------------------------------------- */

/* The first image in it that is whole and in the bundle. platform: of that one; NULL: of any. */
static void find_image(struct walk *w, const struct digest *d, const char *platform, unsigned depth,
                       struct digests *seen, struct digest *out)
{
    struct manifest m = {0};
    size_t length = 0;
    if (depth > DEPTH_MAX || !digests_has(&w->contents->blobs.digests, d) ||
        !digests_add(seen, d, NULL) || read_held(w, d, &m, &length, NULL) != 1)
        return;
    bool is_there = !m.is_index;
    for (size_t i = 0; i < m.child_count && !out->algorithm; i++) {
        const struct child *c = &m.children[i];
        if (c->kind == CHILD_MANIFEST) {
            if (!platform || !c->platform[0] || platform_is(c->platform, platform))
                find_image(w, &c->digest, platform, depth + 1, seen, out);
        } else if (c->kind != CHILD_SUBJECT &&
                   !digests_has(&w->contents->blobs.digests, &c->digest))
            is_there = false;
        if (c->kind == CHILD_CONFIG &&
            strcmp(c->media_type, "application/vnd.oci.image.config.v1+json") != 0 &&
            strcmp(c->media_type, "application/vnd.docker.container.image.v1+json") != 0)
            is_there = false;
    }
    if (is_there && !out->algorithm)
        *out = *d;
    manifest_fini(&m);
}

static void remember(struct walk *w, const struct reference *name, const struct digest *d)
{
    struct selection *s = w->out;
    autodigests struct digests here_seen = {0}, any_seen = {0};
    if ((s->count & (s->count - 1)) == 0)
        s->items = alloc_grow(s->items, s->count ? s->count * 2 : 1, sizeof *s->items);
    struct selected *one = &s->items[s->count++];
    *one = (struct selected){.name = *name, .digest = *d};
    const struct contents_repository *r = here(w);
    slice_copy(slice_of(r->media_types[digests_find(&r->manifests, d)]), one->media_type,
               sizeof one->media_type);
    store_has(w->store, d, &one->size_bytes);
    find_image(w, d, platform_here(), 0, &here_seen, &one->image);
    if (!one->image.algorithm)
        find_image(w, d, NULL, 0, &any_seen, &one->image);
}

static int find_root(const struct walk *w, const struct reference *name, struct digest *d,
                     struct error *e)
{
    struct index_tag tag;
    if (name->digest.algorithm) {
        *d = name->digest;
        return 1;
    }
    int got = index_find_tag(w->reader, name->registry, name->repository, name->tag, &tag, e);
    if (got == 1)
        *d = tag.digest;
    return got;
}

/* Its own digest may be held for another repository: then it is not this one's to give. */
static int is_held_here(const struct walk *w, const struct digest *d, struct error *e)
{
    int64_t size_bytes;
    bool is_proven;
    return index_find_hold(w->reader, w->at.registry, w->at.repository, d, &size_bytes, &is_proven,
                           e);
}

/* A tag that stands for a referrer: nobody runs what it names. */
static bool is_beside(const char *tag)
{
    return strncmp(tag, "sha256-", 7) == 0 || strncmp(tag, "sha512-", 7) == 0;
}

/* 1 held whole, 0 not (why), -1. */
static int look_up(struct walk *w, struct digest *d, struct error *why, struct error *e)
{
    int got = find_root(w, &w->at, d, e);
    if (got == 1)
        got = is_held_here(w, d, e);
    if (got == 0)
        error_set(why, ERR_NOT_FOUND, "not held: pull it first");
    return got == 1 ? is_whole(w, d, 0, why, e) : got;
}

/* What could not be had: a note if everything was asked for, else an error. */
static int leave_out(const struct walk *w, const struct error *why, struct error *e)
{
    char text[DIGEST_TEXT_MAX] = "";
    const char *what = w->at.tag[0] ? w->at.tag : digest_print(&w->at.digest, text);
    if (w->options->is_all) {
        note(w, "%s/%s:%s is left out: %s", what, why->text);
        return 0;
    }
    if (e)
        *e = *why;
    return error_prefix(e, "%s/%s%s%s", w->at.registry, w->at.repository, w->at.tag[0] ? ":" : "@",
                        what);
}

static int add_image(struct walk *w, const struct reference *name, struct error *e)
{
    struct digest d = {0};
    struct error why = {0};
    w->at = *name;
    int got = look_up(w, &d, &why, e);
    if (got == 0)
        return leave_out(w, &why, e);
    if (got < 0 || add_manifest(w, &d, 0, e) < 0)
        return error_prefix(e, "%s/%s", name->registry, name->repository);
    if (name->tag[0])
        contents_add_tag(here(w), name->tag, &d);
    if (!w->options->is_all || !is_beside(name->tag))
        remember(w, name, &d);
    return 0;
}

/* --- all of them ------------------------------------------------------------------------------ */

struct names {
    char *registry[PAGE], *name[PAGE];
    size_t count;
};

static void names_clear(struct names *n)
{
    for (size_t i = 0; i < n->count; i++) {
        free(n->registry[i]);
        free(n->name[i]);
    }
    n->count = 0;
}

static void names_free(struct names **n)
{
    names_clear(*n);
    free(*n);
}
#define autonames __attribute__((cleanup(names_free)))

static bool note_repository(const char *registry, const char *name, void *cls)
{
    struct names *n = cls;
    n->registry[n->count] = alloc_string(registry);
    n->name[n->count++] = alloc_string(name);
    return true;
}

static bool note_tag(const char *tag, void *cls)
{
    return note_repository("", tag, cls);
}

static int add_all_tags(struct walk *w, const char *registry, const char *repository,
                        struct error *e)
{
    autonames struct names *tags = alloc_zero(sizeof *tags);
    char last[TAG_MAX + 1] = "";
    do {
        names_clear(tags);
        if (index_each_tag(w->reader, registry, repository, last, PAGE, note_tag, tags, e) < 0)
            return -1;
        for (size_t i = 0; i < tags->count; i++) {
            struct reference name = {0};
            slice_copy(slice_of(registry), name.registry, sizeof name.registry);
            slice_copy(slice_of(repository), name.repository, sizeof name.repository);
            slice_copy(slice_of(tags->name[i]), name.tag, sizeof name.tag);
            if (add_image(w, &name, e) < 0)
                return -1;
            slice_copy(slice_of(tags->name[i]), last, sizeof last);
        }
    } while (tags->count == PAGE);
    return 0;
}

static bool note_root(const struct digest *d, void *cls)
{
    digests_add(cls, d, NULL);
    return true;
}

/* Pulled by digest, and neither under a tag nor in an index of this repository. */
static int add_all_roots(struct walk *w, const char *registry, const char *repository,
                         struct error *e)
{
    autodigests struct digests roots = {0};
    if (index_each_root(w->reader, registry, repository, note_root, &roots, e) < 0)
        return -1;
    for (size_t i = 0; i < roots.count; i++) {
        struct reference name = {.digest = roots.items[i]};
        slice_copy(slice_of(registry), name.registry, sizeof name.registry);
        slice_copy(slice_of(repository), name.repository, sizeof name.repository);
        if (add_image(w, &name, e) < 0)
            return -1;
    }
    return 0;
}

static int add_all(struct walk *w, struct error *e)
{
    autonames struct names *found = alloc_zero(sizeof *found);
    autofree char *registry = alloc_string(""), *repository = alloc_string("");
    do {
        names_clear(found);
        if (index_each_repository(w->reader, registry, repository, PAGE, note_repository, found,
                                  e) < 0)
            return -1;
        for (size_t i = 0; i < found->count; i++) {
            if (add_all_tags(w, found->registry[i], found->name[i], e) < 0 ||
                add_all_roots(w, found->registry[i], found->name[i], e) < 0)
                return -1;
            free(registry);
            free(repository);
            registry = alloc_string(found->registry[i]);
            repository = alloc_string(found->name[i]);
        }
    } while (found->count == PAGE);
    return 0;
}

int select_images(const struct select_options *o, struct store *s, struct index_reader *r,
                  struct selection *out, struct contents *c, struct error *e)
{
    struct walk w = {.options = o, .store = s, .reader = r, .out = out, .contents = c};
    int result = 0;
    for (size_t i = 0; result == 0 && i < o->image_count; i++)
        result = add_image(&w, &o->images[i], e);
    if (result == 0 && o->is_all)
        result = add_all(&w, e);
    judged_fini(&w.judged);
    return result;
}
