/* SPDX-License-Identifier: Apache-2.0
 * Start-up agreement of files and rows. A file without a row was published just before a kill, or
 * the index was lost: it is adopted, for a name under blobs/ is a proof. A row without a file is
 * dropped. Names are compared, nothing is hashed, and only files that no row knows are looked at.
 * Manifests among those are told by their form. */
#include "cache/agree.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "cache/index.h"
#include "cache/room.h"
#include "cache/sql.h"
#include "cache/store.h"
#include "oci/digest.h"
#include "oci/manifest.h"

/* Digests of one algorithm without anything between them: 32 MB for a million. */
struct pile {
    uint8_t *bytes;
    size_t each_bytes, count, room;
};

static void pile_add(struct pile *p, const struct digest *d)
{
    if (p->count == p->room) {
        p->room = p->room ? p->room * 2 : 1024;
        p->bytes = alloc_grow(p->bytes, p->room, p->each_bytes);
    }
    memcpy(p->bytes + p->count++ * p->each_bytes, d->bytes, p->each_bytes);
}

static const uint8_t *pile_at(const struct pile *p, size_t i)
{
    return p->bytes + i * p->each_bytes;
}

static void pile_get(const struct pile *p, size_t i, int algorithm, struct digest *out)
{
    *out = (struct digest){.algorithm = (uint8_t)algorithm};
    memcpy(out->bytes, pile_at(p, i), p->each_bytes);
}

static int compare_32(const void *a, const void *b)
{
    return memcmp(a, b, 32);
}

static int compare_64(const void *a, const void *b)
{
    return memcmp(a, b, 64);
}

#define ALGORITHMS (DIGEST_SHA512 + 1)

struct agree {
    struct store *store;
    struct index *x;
    struct pile held[ALGORITHMS];    /* the files, in byte order */
    struct pile unknown[ALGORITHMS]; /* files without a row */
    struct pile lost[ALGORITHMS];    /* rows without a file */
    struct agree_result result;
};

static void agree_init(struct agree *c, struct store *s, struct index *x)
{
    *c = (struct agree){.store = s, .x = x};
    for (int i = DIGEST_SHA256; i < ALGORITHMS; i++) {
        size_t each_bytes = i == DIGEST_SHA256 ? 32 : 64;
        c->held[i].each_bytes = c->unknown[i].each_bytes = c->lost[i].each_bytes = each_bytes;
    }
}

static void agree_fini(struct agree *c)
{
    for (int i = DIGEST_SHA256; i < ALGORITHMS; i++) {
        free(c->held[i].bytes);
        free(c->unknown[i].bytes);
        free(c->lost[i].bytes);
    }
}
#define autoagree __attribute__((cleanup(agree_fini)))

/* --- comparing -------------------------------------------------------------------------------- */

static int note_held(const struct digest *d, void *cls)
{
    struct agree *c = cls;
    pile_add(&c->held[d->algorithm], d);
    return 0;
}

static int list_files(struct agree *c, struct error *e)
{
    if (store_list(c->store, note_held, c, e) < 0)
        return -1;
    for (int i = DIGEST_SHA256; i < ALGORITHMS; i++)
        if (c->held[i].count)
            qsort(c->held[i].bytes, c->held[i].count, c->held[i].each_bytes,
                  i == DIGEST_SHA256 ? compare_32 : compare_64);
    return 0;
}

/* Where the pass over the files stands: at[i] counts those of an algorithm that rows have met or
 * passed. */
struct cursor {
    size_t at[ALGORITHMS];
};

/* Everything before the row's digest has no row; the row has its file, or is lost. */
static void meet_row(struct agree *c, struct cursor *files, const struct digest *row,
                     int64_t size_bytes)
{
    const struct pile *held = &c->held[row->algorithm];
    size_t *at = &files->at[row->algorithm];
    int order = -1;
    while (*at < held->count &&
           (order = memcmp(pile_at(held, *at), row->bytes, held->each_bytes)) < 0) {
        struct digest unknown;
        pile_get(held, (*at)++, row->algorithm, &unknown);
        pile_add(&c->unknown[row->algorithm], &unknown);
    }
    if (*at < held->count && order == 0) {
        c->result.bytes += room_of_file((uint64_t)size_bytes);
        (*at)++;
    } else {
        pile_add(&c->lost[row->algorithm], row);
    }
}

static int compare_rows(struct agree *c, struct sql *w, struct error *e)
{
    struct cursor files = {0};
    autoquery struct query q = query_start(w, SQL_EACH_BLOB);
    int got;
    while ((got = query_step(&q, e)) > 0) {
        struct digest row;
        if (query_get_digest(&q, 0, &row, e) < 0)
            return -1;
        meet_row(c, &files, &row, query_get_integer(&q, 1));
    }
    if (got < 0)
        return -1;
    for (int i = DIGEST_SHA256; i < ALGORITHMS; i++) {
        for (size_t k = files.at[i]; k < c->held[i].count; k++) {
            struct digest unknown;
            pile_get(&c->held[i], k, i, &unknown);
            pile_add(&c->unknown[i], &unknown);
        }
    }
    return 0;
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
static bool read_manifest(int fd, uint64_t size_bytes, struct manifest *m)
{
    char first = 0;
    if (size_bytes < 2 || size_bytes > MANIFEST_MAX_BYTES)
        return false;
    if (file_read_some(fd, &first, 1, 0, NULL) != 1 || first != '{')
        return false;
    autofree char *bytes = alloc_zero(size_bytes + 1);
    ssize_t length = file_read_some(fd, bytes, size_bytes, 0, NULL);
    if (length < 0 || !looks_like_manifest(bytes, (size_t)length))
        return false;
    return manifest_parse(NULL, bytes, (size_t)length, m, NULL) == 0;
}

static int adopt(struct agree *c, const struct digest *d, struct error *e)
{
    struct stat st;
    struct manifest m;
    struct error why = {0};
    uint64_t size_bytes = 0;
    autoclose int fd = -1;
    int got = store_get(c->store, d, &fd, &size_bytes, &why);
    if (got == 0) /* removed meanwhile */
        return 0;
    if (got < 0 || fstat(fd, &st) < 0) {
        log_event(LOG_LEVEL_WARNING, "blob cannot be opened, not adopted",
                  LOG_S("reason", why.text), LOG_END);
        return 0;
    }
    /* The file remembers about when it was last used, which a lost index no longer does. */
    int64_t used_at = st.st_atim.tv_sec > st.st_mtim.tv_sec ? st.st_atim.tv_sec : st.st_mtim.tv_sec;
    if (index_adopt_blob(c->x, d, size_bytes, used_at, e) < 0)
        return -1;
    c->result.adopted++;
    c->result.bytes += room_of_file(size_bytes);
    if (!read_manifest(fd, size_bytes, &m))
        return 0;
    int result = index_put_manifest(c->x, d, &m, NULL, NULL, e);
    manifest_fini(&m);
    c->result.manifests++;
    return result;
}

static int apply(struct agree *c, struct error *e)
{
    for (int i = DIGEST_SHA256; i < ALGORITHMS; i++) {
        struct digest d;
        for (size_t k = 0; k < c->lost[i].count; k++) {
            pile_get(&c->lost[i], k, i, &d);
            if (index_remove_blob(c->x, &d, e) < 0)
                return -1;
            c->result.lost++;
        }
        for (size_t k = 0; k < c->unknown[i].count; k++) {
            pile_get(&c->unknown[i], k, i, &d);
            if (adopt(c, &d, e) < 0)
                return -1;
        }
    }
    return 0;
}

static bool differs(const struct agree *c)
{
    for (int i = DIGEST_SHA256; i < ALGORITHMS; i++)
        if (c->lost[i].count || c->unknown[i].count)
            return true;
    return false;
}

int agree_by_name(struct store *s, struct index *x, struct sql *w, struct agree_result *out,
                  struct error *e)
{
    autoagree struct agree c;
    agree_init(&c, s, x);
    if (list_files(&c, e) < 0 || compare_rows(&c, w, e) < 0)
        return -1;
    if (differs(&c)) {
        if (index_begin(x, e) < 0)
            return -1;
        if (apply(&c, e) < 0 || index_commit(x, e) < 0) {
            index_rollback(x);
            return -1;
        }
    }
    *out = c.result;
    return 0;
}
