/* SPDX-License-Identifier: Apache-2.0
 * Which reader a file gets, what is checked of every archive once all of it is staged, and the last
 * step. */
#include "bundle/import.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "bundle/admit.h"
#include "bundle/foreign.h"
#include "bundle/intake.h"
#include "bundle/stage.h"
#include "bundle/strict.h"
#include "cache/index.h"
#include "cache/store.h"
#include "mirror/mirror.h"
#include "oci/manifest.h"

/* --- what holds for every archive ------------------------------------------------------------- */

static bool is_there(const struct intake *in, const struct digest *d)
{
    return digests_has(&in->contents.blobs.digests, d) || store_has(in->store, d, NULL);
}

static size_t count_missing(const struct intake *in, const struct manifest *m)
{
    size_t missing = 0;
    for (size_t i = 0; i < m->child_count; i++) {
        const struct child *c = &m->children[i];
        bool is_blob = c->kind == CHILD_CONFIG || c->kind == CHILD_LAYER;
        missing += is_blob && !manifest_may_lack(c) && !is_there(in, &c->digest);
    }
    return missing;
}

static int check_manifest(const struct intake *in, const struct contents_repository *r, size_t i,
                          struct error *e)
{
    struct manifest m = {0};
    char text[DIGEST_TEXT_MAX];
    const struct digest *d = &r->manifests.items[i];
    digest_print(d, text);
    int got = intake_read_manifest(in, d, r->media_types[i], &m, e);
    if (got == 0)
        return error_set(e, ERR_CORRUPT, "names manifest %s, which is not there", text);
    if (got < 0)
        return -1;
    size_t missing = count_missing(in, &m);
    manifest_fini(&m);
    if (missing && in->is_ours)
        return error_set(e, ERR_CORRUPT, "manifest %s names %zu blobs that are not there", text,
                         missing);
    if (missing)
        intake_note(in, "%s/%s: %zu blobs of %s are not in the archive", r->registry, r->name,
                    missing, text);
    return 0;
}

static int check_all(const struct intake *in, struct error *e)
{
    for (size_t i = 0; i < in->contents.repository_count; i++)
        for (size_t k = 0; k < in->contents.repositories[i].manifests.count; k++)
            if (check_manifest(in, &in->contents.repositories[i], k, e) < 0)
                return -1;
    return 0;
}

static void count(const struct intake *in, struct import_result *out)
{
    const struct blob_list *l = &in->contents.blobs;
    *out = (struct import_result){
        .is_whole = true, .images = contents_tag_count(&in->contents), .blobs = l->digests.count};
    for (size_t i = 0; i < l->digests.count; i++)
        if (!intake_is_held(in, &l->digests.items[i], l->sizes[i])) {
            out->new_blobs++;
            out->new_bytes += l->sizes[i];
        }
}

/* "2, 5" into out; false if all are there. */
static bool list_missing(const struct intake *in, char out[200])
{
    autostr struct str text = {0};
    for (size_t i = 0; i < in->volumes.count; i++)
        if (!stage_is_marked(in->stage, i))
            str_format(&text, "%s%zu", text.length ? ", " : "", i + 1);
    snprintf(out, 200, "%.150s%s of %zu", str_text(&text), text.length > 150 ? "…" : "",
             in->volumes.count);
    return text.length > 0;
}

/* --- the last step ---------------------------------------------------------------------------- */

static int write_plan(const struct intake *in, struct error *e)
{
    autostr struct str text = {0};
    contents_print(&in->contents, &text);
    return file_replace(stage_folder(in->stage), STAGE_PLAN, text.text, text.length, true, e);
}

static int admit_here(const struct intake *in, struct admittance *a, struct error *e)
{
    bool rebuilt = false;
    int got = -1;
    struct store *s = store_open(in->options->data, e);
    struct index *x = s ? index_open(s, &rebuilt, e) : NULL;
    if (x)
        do
            got = admit_staged(a, s, x, e);
        while (got > 0);
    index_close(x);
    store_close(s);
    return got;
}

/* By the mirror that runs on the folder, else here. All is durable before its thread gets to it. */
static int admit(const struct intake *in, struct pruned *pruned, struct error *e)
{
    int got = 0;
    const struct import_options *o = in->options;
    struct admittance a = {.id = stage_id(in->stage), .is_pruning = o->is_pruning};
    for (size_t i = 0; i < in->contents.blobs.digests.count; i++)
        if (stage_sync(in->stage, &in->contents.blobs.digests.items[i], e) < 0)
            return -1;
    if (write_plan(in, e) < 0)
        return -1;
    if (o->hand_over)
        got = o->hand_over(&a, o->cls, e);
    if (got == 0)
        got = admit_here(in, &a, e);
    *pruned = a.pruned;
    return got < 0 ? -1 : 0;
}

static void note_going(const char *image, void *cls)
{
    intake_note(cls, "%s would go", image);
}

/* What pruning would take, told image by image. */
static int look_what_goes(const struct intake *in, struct pruned *out, struct error *e)
{
    struct prune *p = in->reader ? prune_open_beside(in->reader, e) : NULL;
    if (!in->reader) /* nothing is held */
        return 0;
    int result = !p || admit_want(&in->contents, p, e) < 0
                     ? -1
                     : prune_look(p, note_going, (void *)in, out, e);
    prune_close(p);
    return result;
}

/* Checks come before either. */
static int do_last(const struct intake *in, struct pruned *pruned, struct error *e)
{
    if (check_all(in, e) < 0)
        return -1;
    if (in->options->is_pruning && in->contents.repository_count == 0)
        return error_set(e, ERR_USAGE, "names no image, so that pruning would leave nothing");
    if (in->options->is_pruning && in->options->whole.algorithm)
        return error_set(e, ERR_USAGE, "--prune takes one bundle, and another was whole before");
    if (!in->options->rehearsal)
        return admit(in, pruned, e);
    return in->options->is_pruning ? look_what_goes(in, pruned, e) : 0;
}

static int finish(struct intake *in, struct import_result *out, struct error *e)
{
    struct import_result result;
    char missing[200] = "";
    count(in, &result);
    result.id = in->id;
    if (!in->was_whole && in->is_ours && list_missing(in, missing)) {
        result.is_whole = false;
        slice_copy(slice_of(missing), result.missing, sizeof result.missing);
        *out = result;
        return 0;
    }
    if (!in->was_whole && do_last(in, &result.pruned, e) < 0)
        return -1;
    *out = result;
    return 0;
}

/* --- which reader ----------------------------------------------------------------------------- */

static int take_folder(struct intake *in, const char *path, struct error *e)
{
    autoclose int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return error_errno(e, "open");
    if (faccessat(folder, MEMBER_CONTENTS, F_OK, 0) == 0)
        return strict_take_folder(in, folder, e);
    return foreign_take_folder(in, folder, path, e);
}

static int take_any(struct intake *in, const char *path, struct error *e)
{
    struct stat st;
    bool is_ours = false;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return take_folder(in, path, e);
    if (strict_is_ours(path, &is_ours, e) < 0)
        return -1;
    return is_ours ? strict_take(in, path, e) : foreign_take(in, path, e);
}

/* Makes the folders if they are new; a mirror that runs on them has made them. */
static struct store *open_store(const char *data, struct error *e)
{
    struct store *s = store_open_beside(data, e);
    if (s || e->kind != ERR_NOT_FOUND)
        return s;
    store_close(store_open(data, e));
    return store_open_beside(data, e);
}

/* Volumes that were good stay for those still to come; nothing else outlives a refusal. */
static void clean_up(struct intake *in, bool is_done)
{
    size_t marked = 0;
    for (size_t i = 0; i < in->volumes.count; i++)
        marked += stage_is_marked(in->stage, i);
    if (in->is_kept)
        return;
    if (is_done || in->options->rehearsal || marked == 0 || marked == in->volumes.count)
        stage_remove(in->stage);
    else
        stage_close(in->stage);
}

void rehearsal_fini(struct rehearsal *r)
{
    for (size_t i = 0; i < r->ids.count; i++)
        stage_remove(r->stages[i]);
    free(r->stages);
    digests_fini(&r->ids);
    *r = (struct rehearsal){0};
}

int import_take(const struct import_options *o, const char *path, struct import_result *out,
                struct error *e)
{
    struct intake in = {.options = o, .buffer = alloc_zero(INTAKE_READ_BYTES)};
    struct import_result result = {0};
    int taken = -1;
    in.store = open_store(o->data, e);
    if (in.store) {
        in.reader = index_reader_open_beside(in.store, NULL);
        taken = take_any(&in, path, e);
        if (taken == 0)
            taken = finish(&in, &result, e);
        clean_up(&in, taken == 0 && result.is_whole);
    }
    if (taken == 0)
        *out = result;
    else
        error_prefix(e, "%s", path);
    contents_fini(&in.contents);
    volumes_fini(&in.volumes);
    index_reader_close(in.reader);
    store_close(in.store);
    free(in.buffer);
    return taken;
}
