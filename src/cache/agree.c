/* SPDX-License-Identifier: Apache-2.0
 * Agreement of files and rows. A file without a row was published just before a kill, or the index
 * was lost: it is adopted, for a name under blobs/ is a proof. A row without a file is dropped.
 * Names are compared, and only files that no row knows are looked at. Manifests among those are
 * told by their form. Between two steps files may have come and gone: each is looked at again. */
#include "cache/agree.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "cache/index.h"
#include "cache/pile.h"
#include "cache/room.h"
#include "cache/sql.h"
#include "cache/store.h"
#include "oci/digest.h"
#include "oci/manifest.h"

enum { STEP_BLOBS = 256, STEP_US = 3000 };

struct agree {
    struct store *store;
    struct index *x;
    struct pile unknown; /* files without a row */
    struct pile lost;    /* rows without a file */
    size_t dropped, counted,
        adopted; /* of lost, of unknown and of unknown: how far each has come */
    struct agree_result result;
};

/* --- comparing -------------------------------------------------------------------------------- */

static int note_held(const struct digest *d, void *cls)
{
    pile_add(cls, d);
    return 0;
}

/* Both are in the order of the digests. */
static int compare(struct agree *a, const struct pile *held, struct error *e)
{
    size_t at = 0;
    int64_t bytes = 0;
    struct digest file, row;
    autoquery struct query q = query_start(index_writer(a->x), SQL_EACH_BLOB);
    int got;
    while ((got = query_step(&q, e)) > 0) {
        int order = 1;
        if (query_get_digest(&q, 0, &row, e) < 0)
            return -1;
        for (; pile_get(held, at, &file) && (order = pile_compare(&file, &row)) < 0; at++)
            pile_add(&a->unknown, &file);
        if (order == 0) {
            bytes += room_of_file((uint64_t)query_get_integer(&q, 1));
            at++;
        } else {
            pile_add(&a->lost, &row);
        }
    }
    if (got < 0)
        return -1;
    for (; pile_get(held, at, &file); at++)
        pile_add(&a->unknown, &file);
    room_set_blobs(store_room(a->store), bytes);
    return 0;
}

struct agree *agree_begin(struct store *s, struct index *x, struct error *e)
{
    autopile struct pile held = {0};
    struct agree *a = alloc_zero(sizeof *a);
    *a = (struct agree){.store = s, .x = x};
    if (store_list(s, note_held, &held, e) == 0) {
        pile_sort(&held);
        if (compare(a, &held, e) == 0)
            return a;
    }
    agree_free(a);
    return NULL;
}

void agree_free(struct agree *a)
{
    if (!a)
        return;
    pile_fini(&a->unknown);
    pile_fini(&a->lost);
    free(a);
}

struct agree_result agree_result(const struct agree *a)
{
    return a->result;
}

/* --- adopting --------------------------------------------------------------------------------- */

/* JSON of another kind is a blob like any other: an image's configuration has a "config" too. */
static bool looks_like_manifest(const char *bytes, size_t length)
{
    autojson struct json_t *document = json_parse(bytes, length, NULL);
    if (!document || !json_is_object(document))
        return false;
    const char *media_type = json_get_string(document, "mediaType");
    if (media_type)
        return manifest_is_known_type(media_type);
    return json_get_array(document, "manifests") ||
           (json_get_object(document, "config") && json_get_array(document, "layers"));
}

/* A file that cannot be read is no manifest: one bad sector must not keep the mirror from starting.
 */
bool agree_read_manifest(int fd, const struct digest *d, uint64_t size_bytes, struct manifest *m)
{
    char first = 0;
    struct digest got;
    if (size_bytes < 2 || size_bytes > MANIFEST_MAX_BYTES)
        return false;
    if (file_read_some(fd, &first, 1, 0, NULL) != 1 || first != '{')
        return false;
    autofree char *bytes = alloc_zero(size_bytes + 1);
    ssize_t length = file_read_some(fd, bytes, size_bytes, 0, NULL);
    if (length < 0 || !looks_like_manifest(bytes, (size_t)length))
        return false;
    digest_of((enum digest_algorithm)d->algorithm, bytes, (size_t)length, &got);
    return digest_equals(&got, d) && manifest_parse(NULL, bytes, (size_t)length, m, NULL) == 0;
}

static int adopt(struct agree *a, const struct digest *d, struct error *e)
{
    struct stat st;
    struct manifest m;
    struct error why = {0};
    uint64_t size_bytes = 0;
    autoclose int fd = -1;
    int got = store_get(a->store, d, &fd, &size_bytes, &why);
    if (got == 0) /* removed meanwhile */
        return 0;
    if (got < 0 || fstat(fd, &st) < 0) {
        log_event(LOG_LEVEL_WARNING, "blob cannot be opened, not adopted",
                  LOG_S("reason", why.text), LOG_END);
        return 0;
    }
    /* The file remembers about when it was last used, which a lost index no longer does. */
    int64_t used_at = st.st_atim.tv_sec > st.st_mtim.tv_sec ? st.st_atim.tv_sec : st.st_mtim.tv_sec;
    if (index_adopt_blob(a->x, d, size_bytes, used_at, e) < 0)
        return -1;
    a->result.adopted++;
    if (!agree_read_manifest(fd, d, size_bytes, &m))
        return 0;
    int result = index_put_manifest(a->x, d, &m, NULL, NULL, e);
    manifest_fini(&m);
    a->result.manifests++;
    return result;
}

/* --- in steps --------------------------------------------------------------------------------- */

static int drop(struct agree *a, const struct digest *d, struct error *e)
{
    if (store_has(a->store, d, NULL)) /* it came meanwhile */
        return 0;
    a->result.lost++;
    return index_lose_blob(a->x, d, e);
}

static void count(struct agree *a, const struct digest *d)
{
    uint64_t size_bytes = 0;
    if (store_has(a->store, d, &size_bytes))
        room_add_blobs(store_room(a->store), room_of_file(size_bytes));
}

/* The next one: 1, or 0 if there is none. All are counted before the first is read, so that what
 * may be taken is soon known. */
static int do_one(struct agree *a, struct error *e)
{
    struct digest d;
    if (pile_get(&a->lost, a->dropped, &d)) {
        a->dropped++;
        return drop(a, &d, e) < 0 ? -1 : 1;
    }
    if (pile_get(&a->unknown, a->counted, &d)) {
        a->counted++;
        count(a, &d);
        return 1;
    }
    if (pile_get(&a->unknown, a->adopted, &d)) {
        a->adopted++;
        return adopt(a, &d, e) < 0 ? -1 : 1;
    }
    return 0;
}

static int do_some(struct agree *a, struct error *e)
{
    int64_t until_us = clock_mono_us() + STEP_US;
    int got = 1;
    for (int i = 0; got == 1 && i < STEP_BLOBS && clock_mono_us() < until_us; i++)
        got = do_one(a, e);
    return got;
}

/* Files that were counted stay so: only what the index was to know is done again. */
int agree_step(struct agree *a, struct error *e)
{
    const struct agree before = *a;
    if (index_begin(a->x, e) < 0)
        return -1;
    int got = do_some(a, e);
    if (got >= 0 && index_commit(a->x, e) == 0)
        return got;
    index_rollback(a->x);
    a->dropped = before.dropped;
    a->adopted = before.adopted;
    a->result = before.result;
    return -1;
}
