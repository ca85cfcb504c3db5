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
#include "cache/store.h"
#include "oci/manifest.h"

struct admission {
    struct store *store;
    struct index *x;
    int folder; /* import/<id>/ */
    int64_t now_s;
    struct contents plan;
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
    return got < 0 ? -1 : contents_parse(text, length, &a->plan, e);
}

static int publish_files(struct admission *a, struct error *e)
{
    const struct blob_list *l = &a->plan.blobs;
    for (size_t i = 0; i < l->digests.count; i++) {
        char name[STAGE_NAME_MAX];
        const struct digest *d = &l->digests.items[i];
        if (store_publish_staged(a->store, d, a->folder, stage_name(d, name), e) < 0)
            return -1;
    }
    return store_sync(a->store, e);
}

static int check_absent(struct admission *a, struct error *e)
{
    char text[DIGEST_TEXT_MAX];
    for (size_t i = 0; i < a->plan.absent.digests.count; i++) {
        const struct digest *d = &a->plan.absent.digests.items[i];
        if (!store_has(a->store, d, NULL))
            return error_set(e, ERR_NOT_FOUND, "blob %s went away meanwhile",
                             digest_print(d, text));
    }
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

int admit_staged(struct store *s, struct index *x, struct slice id, struct error *e)
{
    autoclose int folder = open_folder(s, id, e);
    if (folder < 0)
        return -1;
    struct admission a = {.store = s, .x = x, .folder = folder, .now_s = clock_wall_s()};
    if (read_plan(&a, e) < 0)
        return -1;
    int result = check_absent(&a, e);
    if (result == 0)
        result = publish_files(&a, e);
    if (result == 0)
        result = write_rows(&a, e);
    contents_fini(&a.plan);
    return result;
}
