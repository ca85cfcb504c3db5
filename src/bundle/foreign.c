/* SPDX-License-Identifier: Apache-2.0
 * What other tools wrote: OCI layouts, and the archives of docker save. Finds out what each names
 * and fills the contents of an import with it, as a bundle of our own would say it. */
#include "bundle/foreign.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "bundle/admit.h"
#include "bundle/docker.h"
#include "bundle/intake.h"
#include "bundle/members.h"
#include "bundle/stage.h"
#include "cache/store.h"
#include "oci/manifest.h"

#define DEPTH_MAX 8
#define NAME_OF_CONTAINERD "io.containerd.image.name"
#define NAME_OF_SPEC "org.opencontainers.image.ref.name"

/* --- adding to the contents ------------------------------------------------------------------- */

static bool add_blob(struct intake *in, const struct digest *d)
{
    uint64_t size_bytes = 0;
    if (!stage_has(in->stage, d, &size_bytes) && !store_has(in->store, d, &size_bytes))
        return false;
    blob_list_add(&in->contents.blobs, d, size_bytes);
    return true;
}

/* The manifest and all that is there of what it names. 1, 0 it is not there, -1. */
static int add_manifest(struct intake *in, const struct reference *name, const struct digest *d,
                        const char *media_type, unsigned depth, struct error *e)
{
    struct manifest m = {0};
    if (depth > DEPTH_MAX)
        return error_set(e, ERR_CORRUPT, "has indexes nested deeper than %d", DEPTH_MAX);
    int got = intake_read_manifest(in, d, media_type, &m, e);
    if (got < 1)
        return got;
    struct contents_repository *r =
        contents_repository(&in->contents, name->registry, name->repository);
    if (contents_add_manifest(r, d, m.media_type)) {
        add_blob(in, d);
        for (size_t i = 0; got >= 0 && i < m.child_count; i++) {
            const struct child *c = &m.children[i];
            if (c->kind == CHILD_MANIFEST)
                got = add_manifest(in, name, &c->digest, c->media_type, depth + 1, e);
            else if (c->kind != CHILD_SUBJECT)
                add_blob(in, &c->digest);
        }
    }
    manifest_fini(&m);
    return got < 0 ? -1 : 1;
}

int foreign_add(struct intake *in, const struct reference *name, const struct digest *d,
                const char *media_type, struct error *e)
{
    char text[DIGEST_TEXT_MAX];
    int got = add_manifest(in, name, d, media_type, 0, e);
    if (got == 0)
        return error_set(e, ERR_CORRUPT, "names %s, which is not there", digest_print(d, text));
    if (got < 0)
        return -1;
    struct contents_repository *r =
        contents_repository(&in->contents, name->registry, name->repository);
    if (name->tag[0] && contents_add_tag(r, name->tag, d) < 0)
        return error_set(e, ERR_CORRUPT, "names two images %s/%s:%s", name->registry,
                         name->repository, name->tag);
    return 0;
}

/* --- layouts ---------------------------------------------------------------------------------- */

struct entry {
    struct digest digest;
    const char *media_type; /* borrowed from the document */
    const char *said;       /* its name, or NULL */
    bool takes_tag;         /* nothing but --name names it, so that its tag is for this one */
};

/* 1 a manifest that can be taken in, 0 something else, -1. */
static int read_entry(const struct json_t *from, struct entry *out, struct error *e)
{
    const char *digest = json_get_string(from, "digest");
    const char *media_type = json_get_string(from, "mediaType");
    const struct json_t *annotations = json_get_object(from, "annotations");
    int got = digest ? digest_parse(slice_of(digest), &out->digest) : -1;
    if (got < 0)
        return error_set(e, ERR_CORRUPT, "index.json has an entry without a digest");
    out->media_type = media_type ? media_type : "";
    out->said = annotations ? json_get_string(annotations, NAME_OF_CONTAINERD) : NULL;
    if (!out->said && annotations)
        out->said = json_get_string(annotations, NAME_OF_SPEC);
    return got == 1 && (!*out->media_type || manifest_is_known_type(out->media_type));
}

/* The one repository that the archive names, if there is only one. */
static bool only_repository(const struct intake *in, struct reference *out)
{
    if (in->contents.repository_count != 1)
        return false;
    slice_copy(slice_of(in->contents.repositories[0].registry), out->registry,
               sizeof out->registry);
    slice_copy(slice_of(in->contents.repositories[0].name), out->repository,
               sizeof out->repository);
    return true;
}

/* 1, 0 it has no repository, -1 its name is none. */
static int name_entry(const struct intake *in, const struct entry *n, struct reference *out,
                      struct error *e)
{
    bool is_tag = n->said && !strpbrk(n->said, "/:@");
    if (n->said && !is_tag)
        return reference_parse(slice_of(n->said), out, e) < 0
                   ? error_prefix(e, "index.json: %.100s", n->said)
                   : 1;
    *out = (struct reference){0};
    if (in->options->name)
        *out = *in->options->name;
    else if (!only_repository(in, out))
        return 0;
    if (!is_tag && !n->takes_tag)
        out->tag[0] = 0;
    else if (!is_tag)
        return 1;
    else if (!reference_is_tag(slice_of(n->said)))
        return error_set(e, ERR_CORRUPT, "index.json: %.100s is no tag", n->said);
    else
        slice_copy(slice_of(n->said), out->tag, sizeof out->tag);
    return 1;
}

/* Of one without a name: the repository that holds what it refers to. */
static bool follow_subject(const struct intake *in, const struct entry *n, struct reference *out)
{
    struct manifest m = {0};
    bool is_found = false;
    if (intake_read_manifest(in, &n->digest, n->media_type, &m, NULL) != 1)
        return false;
    for (size_t i = 0; i < m.child_count && !is_found; i++)
        for (size_t k = 0; k < in->contents.repository_count && !is_found; k++) {
            const struct contents_repository *r = &in->contents.repositories[k];
            if (m.children[i].kind != CHILD_SUBJECT ||
                !digests_has(&r->manifests, &m.children[i].digest))
                continue;
            *out = (struct reference){0};
            slice_copy(slice_of(r->registry), out->registry, sizeof out->registry);
            slice_copy(slice_of(r->name), out->repository, sizeof out->repository);
            is_found = true;
        }
    manifest_fini(&m);
    return is_found;
}

static int add_entry(struct intake *in, const struct entry *n, bool is_named_turn, struct error *e)
{
    struct reference name;
    char text[DIGEST_TEXT_MAX];
    bool is_named = n->said && strpbrk(n->said, "/:@");
    if (is_named != is_named_turn)
        return 0;
    if (!n->said && follow_subject(in, n, &name))
        return foreign_add(in, &name, &n->digest, n->media_type, e);
    int got = name_entry(in, n, &name, e);
    if (got == 1)
        return foreign_add(in, &name, &n->digest, n->media_type, e);
    if (got == 0)
        return error_set(e, ERR_USAGE, "names no repository for %s: say --name REPOSITORY",
                         n->said ? n->said : digest_print(&n->digest, text));
    return -1;
}

/* Says no repository, and refers to nothing by which one could be found. */
static bool is_nameless_image(const struct intake *in, const struct entry *n)
{
    struct manifest m = {0};
    bool refers = false;
    if ((n->said && strpbrk(n->said, "/:@")) ||
        intake_read_manifest(in, &n->digest, n->media_type, &m, NULL) != 1)
        return false;
    for (size_t i = 0; i < m.child_count; i++)
        refers |= m.children[i].kind == CHILD_SUBJECT;
    manifest_fini(&m);
    return !refers;
}

static size_t count_nameless(const struct intake *in, const struct json_t *list)
{
    size_t count = 0;
    for (size_t i = 0; i < json_count(list); i++) {
        struct entry n = {0};
        count += read_entry(json_item(list, i), &n, NULL) == 1 && is_nameless_image(in, &n);
    }
    return count;
}

/* First who says of which repository he is, then who may follow from that. */
static int add_entries(struct intake *in, const struct json_t *list, struct error *e)
{
    bool is_alone = in->options->name && count_nameless(in, list) == 1;
    for (int turn = 0; turn < 2; turn++)
        for (size_t i = 0; i < json_count(list); i++) {
            struct entry n = {0};
            int got = read_entry(json_item(list, i), &n, e);
            n.takes_tag = got == 1 && is_alone && is_nameless_image(in, &n);
            if (got < 0 || (got == 1 && add_entry(in, &n, turn == 0, e) < 0))
                return -1;
        }
    return 0;
}

static struct json_t *read_json(const struct intake *in, const struct members *m, const char *name,
                                struct error *e)
{
    size_t length = 0;
    autofree char *text = NULL;
    const struct member *found = members_find(m, name);
    if (!found) {
        error_set(e, ERR_CORRUPT, "has no %s", name);
        return NULL;
    }
    if (intake_read(in, &found->digest, CONTENTS_FILE_MAX_BYTES, &text, &length, e) != 1)
        return NULL;
    struct json_t *document = json_parse(text, length, e);
    if (!document)
        error_prefix(e, "%s", name);
    return document;
}

static int add_layout(struct intake *in, const struct members *m, struct error *e)
{
    autojson struct json_t *layout = read_json(in, m, "oci-layout", e);
    autojson struct json_t *index = layout ? read_json(in, m, "index.json", e) : NULL;
    if (!index)
        return -1;
    const char *version = json_get_string(layout, "imageLayoutVersion");
    if (!version || strcmp(version, "1.0.0") != 0)
        return error_set(e, ERR_CORRUPT, "is a layout of another version: %.40s",
                         version ? version : "none");
    return add_entries(in, json_get_array(index, "manifests"), e);
}

/* --- all -------------------------------------------------------------------------------------- */

static int begin(struct intake *in, const char *path, struct error *e)
{
    struct stat st = {0};
    if (in->options->public_pem.length)
        return error_set(e, ERR_DENIED, "is not signed");
    if (stat(path, &st) < 0)
        return error_errno(e, "stat");
    /* Which one it is nobody knows before it was read: the file stands for it. */
    autofree char *key = alloc_format("%lld/%lld", (long long)st.st_dev, (long long)st.st_ino);
    digest_of(DIGEST_SHA256, key, strlen(key), &in->id);
    in->contents.site = alloc_string("");
    in->contents.created_at = alloc_string("");
    in->stage = stage_open(in->store, &in->id, false, e);
    return in->stage ? 0 : -1;
}

static int add_all(struct intake *in, const struct members *m, struct error *e)
{
    int result;
    if (members_find(m, "oci-layout")) {
        result = add_layout(in, m, e);
    } else if (members_find(m, "manifest.json")) {
        autojson struct json_t *list = read_json(in, m, "manifest.json", e);
        result = list ? docker_add(in, m, list, e) : -1;
    } else {
        return error_set(e, ERR_CORRUPT,
                         "is neither a bundle, an OCI layout nor an archive of docker save");
    }
    if (result == 0 && !in->contents.repository_count)
        return error_set(e, ERR_CORRUPT, "names no image");
    return result < 0 ? -1 : admit_check_budget(&in->contents, in->options->budget_bytes, e);
}

int foreign_take(struct intake *in, const char *path, struct error *e)
{
    struct members m = {0};
    int result = begin(in, path, e);
    if (result == 0)
        result = members_read(&m, in, path, e);
    if (result == 0)
        result = add_all(in, &m, e);
    members_fini(&m);
    return result;
}

int foreign_take_folder(struct intake *in, int folder, const char *path, struct error *e)
{
    struct members m = {0};
    int result = begin(in, path, e);
    if (result == 0)
        result = members_read_folder(&m, in, folder, e);
    if (result == 0)
        result = add_all(in, &m, e);
    members_fini(&m);
    return result;
}
