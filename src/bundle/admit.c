/* SPDX-License-Identifier: Apache-2.0
 * The plan is a bundle's own list of contents; whoever staged it has checked every byte. It is read
 * and its manifests are parsed again here, so that what comes through a running mirror's door is
 * checked by the mirror itself. */
#include "bundle/admit.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "bundle/contents.h"
#include "bundle/select.h"
#include "bundle/stage.h"
#include "cache/imported.h"
#include "cache/index.h"
#include "cache/prune.h"
#include "cache/room.h"
#include "cache/store.h"
#include "mirror/mirror.h"
#include "oci/manifest.h"

enum { SLICE_US = 3000 };

struct admission {
    struct store *store;
    struct index *x;
    int folder; /* import/<id>/ */
    int64_t now_s;
    struct contents plan;
    size_t published;    /* of its files */
    bool *is_new;        /* of each of those: it was not there before */
    struct prune *prune; /* NULL until the rows are written */
};

static int open_folder(struct store *s, struct slice id, struct error *e)
{
    struct digest d;
    char hex[DIGEST_HEX_MAX];
    if (!digest_from_parts(slice_of("sha256"), id, &d))
        return error_set(e, ERR_USAGE, "this is no name of an import");
    autofree char *path = alloc_format("import/%s", digest_hex(&d, hex));
    return file_open_folder(store_folder(s), path, false, e);
}

static int read_plan(struct admission *a, struct error *e)
{
    autofree char *text = NULL;
    size_t length = 0;
    int got = file_read(a->folder, STAGE_PLAN, CONTENTS_MAX_BYTES, &text, &length, e);
    if (got == 0)
        return error_set(e, ERR_NOT_FOUND, "the import has no plan yet");
    if (got < 0 || contents_parse(text, length, &a->plan, e) < 0)
        return -1;
    a->is_new = alloc_array(a->plan.blobs.digests.count + 1, sizeof *a->is_new);
    return 0;
}

/* 1: there are more. */
static int publish_some(struct admission *a, struct error *e)
{
    const struct blob_list *l = &a->plan.blobs;
    int64_t until_us = clock_mono_us() + SLICE_US;
    while (a->published < l->digests.count && clock_mono_us() < until_us) {
        char name[STAGE_NAME_MAX];
        const struct digest *d = &l->digests.items[a->published];
        a->is_new[a->published] = !store_has(a->store, d, NULL);
        if (store_publish_staged(a->store, d, a->folder, stage_name(d, name), e) < 0)
            return -1;
        a->published++;
    }
    return a->published < l->digests.count;
}

static int64_t kept_bytes(const struct blob_list *l)
{
    int64_t sum = 0;
    for (size_t i = 0; i < l->digests.count; i++)
        sum += room_of_file(l->sizes[i]);
    return sum;
}

int admit_check_budget(const struct contents *c, int64_t budget_bytes, struct error *e)
{
    int64_t bytes = kept_bytes(&c->blobs) + kept_bytes(&c->absent);
    if (room_budget_holds(budget_bytes, bytes))
        return 0;
    return error_set(e, ERR_NO_SPACE,
                     "takes %.1f MB and the budget is %.1f MB: some of it would be evicted again",
                     (double)bytes / 1e6, (double)budget_bytes / 1e6);
}

static int check_there(struct admission *a, const struct blob_list *l, struct error *e)
{
    char text[DIGEST_TEXT_MAX];
    for (size_t i = 0; i < l->digests.count; i++)
        if (!store_has(a->store, &l->digests.items[i], NULL))
            return error_set(e, ERR_NOT_FOUND, "blob %s was held and went meanwhile; try again",
                             digest_print(&l->digests.items[i], text));
    return 0;
}

static int put_children(struct admission *a, const struct contents_repository *r,
                        const struct manifest *m, struct error *e)
{
    for (size_t i = 0; i < m->child_count; i++) {
        const struct child *c = &m->children[i];
        uint64_t size_bytes = 0;
        if (c->kind == CHILD_CONFIG || c->kind == CHILD_LAYER)
            if (store_has(a->store, &c->digest, &size_bytes) &&
                index_put_hold(a->x, r->registry, r->name, &c->digest, (int64_t)size_bytes, e) < 0)
                return -1;
    }
    return 0;
}

static int put_manifest(struct admission *a, const struct contents_repository *r, size_t i,
                        struct error *e)
{
    struct manifest m = {0};
    size_t length = 0;
    autofree char *bytes = NULL;
    const struct digest *d = &r->manifests.items[i];
    int got = select_read_manifest(a->store, d, r->media_types[i], &bytes, &length, &m, e);
    if (got < 1)
        return got < 0 ? -1 : error_set(e, ERR_NOT_FOUND, "a manifest went away meanwhile");
    got = index_put_manifest(a->x, d, &m, r->registry, r->name, e);
    if (got == 0)
        got = put_children(a, r, &m, e);
    manifest_fini(&m);
    return got;
}

static int put_repository(struct admission *a, const struct contents_repository *r, struct error *e)
{
    for (size_t i = 0; i < r->manifests.count; i++)
        if (put_manifest(a, r, i, e) < 0)
            return -1;
    for (size_t i = 0; i < r->tag_count; i++)
        if (index_put_tag(a->x, r->registry, r->name, r->tags[i].name, &r->tags[i].digest, a->now_s,
                          e) < 0)
            return -1;
    return imported_put(a->x, r->registry, r->name, e);
}

static int put_rows(struct admission *a, struct error *e)
{
    const struct blob_list *l = &a->plan.blobs;
    for (size_t i = 0; i < l->digests.count; i++)
        if (index_put_blob(a->x, &l->digests.items[i], l->sizes[i], a->now_s, e) < 0)
            return -1;
    for (size_t i = 0; i < a->plan.repository_count; i++)
        if (put_repository(a, &a->plan.repositories[i], e) < 0)
            return -1;
    return 0;
}

static int write_rows(struct admission *a, struct error *e)
{
    if (index_begin(a->x, e) < 0)
        return -1;
    if (put_rows(a, e) == 0 && index_commit(a->x, e) == 0)
        return 0;
    index_rollback(a->x);
    return -1;
}

/* --- what stays ------------------------------------------------------------------------------- */

static int want_blobs(const struct blob_list *l, struct prune *p, struct error *e)
{
    for (size_t i = 0; i < l->digests.count; i++)
        if (prune_want_blob(p, &l->digests.items[i], e) < 0)
            return -1;
    return 0;
}

int admit_want(const struct contents *c, struct prune *p, struct error *e)
{
    for (size_t i = 0; i < c->repository_count; i++) {
        const struct contents_repository *r = &c->repositories[i];
        for (size_t k = 0; k < r->manifests.count; k++)
            if (prune_want(p, r->registry, r->name, &r->manifests.items[k], e) < 0)
                return -1;
        for (size_t k = 0; k < r->tag_count; k++)
            if (prune_want_tag(p, r->registry, r->name, r->tags[k].name, e) < 0)
                return -1;
    }
    return want_blobs(&c->blobs, p, e) < 0 ? -1 : want_blobs(&c->absent, p, e);
}

/* Names go in one transaction, what they stood for in slices after it. */
static int prune_rows(struct admission *a, struct pruned *out, struct error *e)
{
    a->prune = prune_open(a->x, e);
    if (!a->prune || index_begin(a->x, e) < 0)
        return -1;
    if (admit_want(&a->plan, a->prune, e) == 0 && prune_look(a->prune, NULL, NULL, out, e) == 0 &&
        prune_names(a->prune, e) == 0 && index_commit(a->x, e) == 0)
        return 0;
    index_rollback(a->x);
    return -1;
}

/* --- steps ------------------------------------------------------------------------------------ */

static struct admission *begin(struct admittance *what, struct store *s, struct index *x,
                               struct error *e)
{
    autoclose int folder = open_folder(s, slice_of(what->id), e);
    if (folder < 0)
        return NULL;
    struct admission *a = alloc_zero(sizeof *a);
    *a = (struct admission){.store = s, .x = x, .now_s = clock_wall_s()};
    a->folder = take_fd(folder);
    return a;
}

static void end(struct admission *a)
{
    prune_close(a->prune);
    contents_fini(&a->plan);
    close(a->folder);
    free(a->is_new);
    free(a);
}

/* All is looked for again: what was held may have been evicted between two steps. */
static int hold_all(struct admission *a, struct error *e)
{
    if (check_there(a, &a->plan.absent, e) < 0 || check_there(a, &a->plan.blobs, e) < 0)
        return -1;
    return store_sync(a->store, e) < 0 ? -1 : write_rows(a, e);
}

/* New files that have got no row meanwhile were never seen, and go again. */
static void take_back(struct admission *a)
{
    uint64_t size_bytes;
    struct error why;
    const struct blob_list *l = &a->plan.blobs;
    struct index_reader *r = a->published > 0 ? index_reader_open(a->x, &why) : NULL;
    for (size_t i = 0; r && i < a->published; i++)
        if (a->is_new[i] && index_find_blob(r, &l->digests.items[i], &size_bytes, &why) == 0)
            store_remove(a->store, &l->digests.items[i], &why);
    index_reader_close(r);
}

static int step(struct admittance *what, struct admission *a, struct error *e)
{
    if (a->prune)
        return prune_step(a->prune, a->store, what->gone, what->cls, e);
    int got = publish_some(a, e);
    if (got == 0 && hold_all(a, e) < 0)
        got = -1;
    if (got < 0)
        take_back(a);
    if (got != 0)
        return got;
    what->has_changed = true;
    if (what->is_pruning && prune_rows(a, &what->pruned, e) < 0)
        return error_prefix(e, "all of it is in, but what else is there was not pruned");
    return what->is_pruning;
}

int admit_staged(struct admittance *what, struct store *s, struct index *x, struct error *e)
{
    struct admission *a = what->progress;
    int got = 1;
    if (!a) {
        a = what->progress = begin(what, s, x, e);
        if (!a || read_plan(a, e) < 0 || check_there(a, &a->plan.absent, e) < 0 ||
            admit_check_budget(&a->plan, room_budget(store_room(s)), e) < 0)
            got = -1;
    } else {
        got = step(what, a, e);
    }
    if (got > 0)
        return 1;
    if (a)
        end(a);
    what->progress = NULL;
    return got;
}
