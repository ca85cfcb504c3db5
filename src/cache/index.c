/* SPDX-License-Identifier: Apache-2.0
 * What is held, where, under which names: the queries behind the mirror's questions and the
 * ledger's writes. Knows the tables' meaning; the SQL itself stands in sql.def, handles in sql.c,
 * the file in index_open.c. A row is never a proof: whoever serves a blob opens its file. */
#include "cache/index.h"

#include <limits.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "cache/index_inside.h"

int index_check(struct index_reader *r, struct error *e)
{
    uint64_t ignored;
    const struct digest any = {.algorithm = DIGEST_SHA256};
    sql_forget_pages(&r->sql);
    return index_find_blob(r, &any, &ignored, e) < 0 ? -1 : 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

int index_find_blob_use(struct index_reader *r, const struct digest *d, uint64_t *size_bytes,
                        int64_t *used_at, struct error *e)
{
    autoquery struct query q = index_query(r, SQL_FIND_BLOB);
    query_digest(&q, d);
    int got = query_step(&q, e);
    if (got == 1) {
        *size_bytes = (uint64_t)query_get_integer(&q, 0);
        *used_at = query_get_integer(&q, 2) != 0 ? query_get_integer(&q, 1) : 0;
    }
    return got;
}

int index_find_blob(struct index_reader *r, const struct digest *d, uint64_t *size_bytes,
                    struct error *e)
{
    int64_t ignored;
    return index_find_blob_use(r, d, size_bytes, &ignored, e);
}

int index_find_manifest(struct index_reader *r, const struct digest *d, struct index_manifest *out,
                        struct error *e)
{
    autoquery struct query q = index_query(r, SQL_FIND_MANIFEST);
    query_digest(&q, d);
    int got = query_step(&q, e);
    if (got == 1 &&
        !slice_copy(slice_of(query_get_text(&q, 0)), out->media_type, sizeof(out->media_type)))
        return error_set(e, ERR_CORRUPT, "index: a media type longer than %d bytes",
                         MEDIA_TYPE_MAX);
    return got;
}

int index_find_hold(struct index_reader *r, const char *registry, const char *repository,
                    const struct digest *d, int64_t *size_bytes, bool *is_proven, struct error *e)
{
    autoquery struct query q = index_query(r, SQL_FIND_HOLD);
    query_text(&q, registry);
    query_text(&q, repository);
    query_digest(&q, d);
    int got = query_step(&q, e);
    if (got == 1) {
        *size_bytes = query_get_integer(&q, 0);
        *is_proven = query_get_integer(&q, 1) != 0;
    }
    return got;
}

int index_each_holder(struct index_reader *r, const struct digest *d,
                      bool (*visit)(const char *registry, void *cls), void *cls, struct error *e)
{
    autoquery struct query q = index_query(r, SQL_EACH_HOLDER);
    query_digest(&q, d);
    return query_each_text(&q, visit, cls, e);
}

int index_find_tag(struct index_reader *r, const char *registry, const char *repository,
                   const char *tag, struct index_tag *out, struct error *e)
{
    autoquery struct query q = index_query(r, SQL_FIND_TAG);
    query_text(&q, registry);
    query_text(&q, repository);
    query_text(&q, tag);
    int got = query_step(&q, e);
    if (got < 1)
        return got;
    if (query_get_digest(&q, 0, &out->digest, e) < 0)
        return -1;
    out->checked_at = query_get_integer(&q, 1);
    return 1;
}

int index_find_listing(struct index_reader *r, const char *registry, const char *repository,
                       const char *kind, const char *key, char **body, size_t *length,
                       int64_t *fetched_at, struct error *e)
{
    autoquery struct query q = index_query(r, SQL_FIND_LISTING);
    query_text(&q, registry);
    query_text(&q, repository);
    query_text(&q, kind);
    query_text(&q, key);
    int got = query_step(&q, e);
    if (got < 1)
        return got;
    const void *bytes = query_get_bytes(&q, 0, length);
    *body = alloc_bytes(bytes, *length);
    *fetched_at = query_get_integer(&q, 1);
    return 1;
}

static int64_t limit_of(size_t max)
{
    return max > INT_MAX ? INT_MAX : (int64_t)max; /* counts are told as int */
}

int index_each_tag(struct index_reader *r, const char *registry, const char *repository,
                   const char *last, size_t max, bool (*visit)(const char *tag, void *cls),
                   void *cls, struct error *e)
{
    autoquery struct query q = index_query(r, SQL_EACH_TAG);
    query_text(&q, registry);
    query_text(&q, repository);
    query_text(&q, last);
    query_integer(&q, limit_of(max));
    return query_each_text(&q, visit, cls, e);
}

int index_each_repository(struct index_reader *r, const char *last_registry, const char *last_name,
                          size_t max,
                          bool (*visit)(const char *registry, const char *name, void *cls),
                          void *cls, struct error *e)
{
    autoquery struct query q = index_query(r, SQL_EACH_REPOSITORY);
    query_text(&q, last_registry);
    query_text(&q, last_name);
    query_integer(&q, limit_of(max));
    int count = 0, got;
    while ((got = query_step(&q, e)) > 0) {
        count++;
        if (!visit(query_get_text(&q, 0), query_get_text(&q, 1), cls))
            break;
    }
    return got < 0 ? -1 : count;
}

int index_each_referrer(struct index_reader *r, const char *registry, const char *repository,
                        const struct digest *subject,
                        bool (*visit)(const struct digest *d, uint64_t size_bytes,
                                      const char *media_type, const char *artifact_type,
                                      const char *annotations, void *cls),
                        void *cls, struct error *e)
{
    autoquery struct query q = index_query(r, SQL_EACH_REFERRER);
    query_text(&q, registry);
    query_text(&q, repository);
    query_digest(&q, subject);
    int count = 0, got;
    while ((got = query_step(&q, e)) > 0) {
        struct digest d;
        if (query_get_digest(&q, 0, &d, e) < 0)
            return -1;
        count++;
        if (!visit(&d, (uint64_t)query_get_integer(&q, 1), query_get_text(&q, 2),
                   query_get_text(&q, 3), query_get_text(&q, 4), cls))
            break;
    }
    return got < 0 ? -1 : count;
}

int index_tally(struct index_reader *r, struct index_tally *out, struct error *e)
{
    autoquery struct query q = index_query(r, SQL_TALLY);
    if (query_step(&q, e) < 0)
        return -1;
    *out = (struct index_tally){(uint64_t)query_get_integer(&q, 0),
                                (uint64_t)query_get_integer(&q, 1)};
    return 0;
}

int index_each_image_with(struct index_reader *r, const struct digest *d, size_t max,
                          bool (*visit)(const char *image, void *cls), void *cls, struct error *e)
{
    autoquery struct query q = index_query(r, SQL_EACH_IMAGE_WITH);
    query_digest(&q, d);
    query_integer(&q, limit_of(max));
    return query_each_text(&q, visit, cls, e);
}

int index_next_blob(struct index_reader *r, const struct digest *after, struct digest *out,
                    struct error *e)
{
    autoquery struct query q = index_query(r, SQL_NEXT_BLOB);
    query_digest(&q, after);
    int got = query_step(&q, e);
    return got == 1 && query_get_digest(&q, 0, out, e) < 0 ? -1 : got;
}

int index_get_scrub(struct index_reader *r, struct index_scrub *out, struct error *e)
{
    struct index_scrub found = {.began_at = 0};
    autoquery struct query q = index_query(r, SQL_GET_SCRUB);
    int got = query_step(&q, e);
    if (got < 1)
        return got;
    if (!query_is_null(&q, 0) && query_get_digest(&q, 0, &found.place, e) < 0)
        return -1;
    found.began_at = query_get_integer(&q, 1);
    *out = found;
    return 1;
}

int index_each_root(struct index_reader *r, const char *registry, const char *repository,
                    bool (*visit)(const struct digest *d, void *cls), void *cls, struct error *e)
{
    autoquery struct query q = index_query(r, SQL_EACH_ROOT);
    query_text(&q, registry);
    query_text(&q, repository);
    int count = 0, got;
    while ((got = query_step(&q, e)) > 0) {
        struct digest d;
        if (query_get_digest(&q, 0, &d, e) < 0)
            return -1;
        count++;
        if (!visit(&d, cls))
            break;
    }
    return got < 0 ? -1 : count;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The order of coming is told by the clock as long as that goes forward, and goes on without it
 * where the clock was set back. */
static void next_turn(struct index *x, int64_t now_s)
{
    x->turn = now_s > x->turn ? now_s : x->turn + 1;
}

int index_begin(struct index *x, struct error *e)
{
    next_turn(x, clock_wall_s());
    return sql_run(&x->writer, SQL_BEGIN, e);
}

int index_commit(struct index *x, struct error *e)
{
    return sql_run(&x->writer, SQL_COMMIT, e);
}

void index_rollback(struct index *x)
{
    sql_rollback(&x->writer);
}

static int put_blob(struct index *x, const struct digest *d, uint64_t size_bytes, int64_t used_at,
                    int64_t turn, struct error *e)
{
    autoquery struct query q = query_start(&x->writer, SQL_PUT_BLOB);
    query_digest(&q, d);
    query_integer(&q, (int64_t)size_bytes);
    query_integer(&q, used_at);
    query_integer(&q, turn);
    return query_run(&q, e);
}

int index_put_blob(struct index *x, const struct digest *d, uint64_t size_bytes, int64_t now_s,
                   struct error *e)
{
    return put_blob(x, d, size_bytes, now_s, x->turn, e);
}

int index_adopt_blob(struct index *x, const struct digest *d, uint64_t size_bytes, int64_t used_at,
                     struct error *e)
{
    return put_blob(x, d, size_bytes, used_at, used_at < x->turn ? used_at : x->turn, e);
}

static int run_with_digest(struct index *x, enum sql_name name, const struct digest *d,
                           struct error *e)
{
    autoquery struct query q = query_start(&x->writer, name);
    query_digest(&q, d);
    return query_run(&q, e);
}

int index_remove_blob(struct index *x, const struct digest *d, struct error *e)
{
    if (run_with_digest(x, SQL_REMOVE_BLOB, d, e) < 0 ||
        run_with_digest(x, SQL_REMOVE_MANIFEST, d, e) < 0)
        return -1;
    return run_with_digest(x, SQL_REMOVE_CHILDREN, d, e);
}

int index_lose_blob(struct index *x, const struct digest *d, struct error *e)
{
    int pinned = index_is_below_pin(x, d, e);
    if (pinned != 1)
        return pinned < 0 ? -1 : index_remove_blob(x, d, e);
    if (run_with_digest(x, SQL_REMOVE_BLOB, d, e) < 0)
        return -1;
    return run_with_digest(x, SQL_REMOVE_MANIFEST, d, e);
}

/* 1 and *id, or 0 if nothing is known of it. */
static int find_repository(struct index *x, const char *registry, const char *name, int64_t *id,
                           struct error *e)
{
    autoquery struct query q = query_start(&x->writer, SQL_FIND_REPOSITORY);
    query_text(&q, registry);
    query_text(&q, name);
    int got = query_step(&q, e);
    if (got == 1)
        *id = query_get_integer(&q, 0);
    return got;
}

static int make_repository(struct index *x, const char *registry, const char *name, int64_t *id,
                           struct error *e)
{
    int got = find_repository(x, registry, name, id, e);
    if (got != 0)
        return got < 0 ? -1 : 0;
    autoquery struct query q = query_start(&x->writer, SQL_PUT_REPOSITORY);
    query_text(&q, registry);
    query_text(&q, name);
    if (query_run(&q, e) < 0)
        return -1;
    *id = sql_last_row(&x->writer);
    return 0;
}

static int put_hold(struct index *x, int64_t repository, const struct digest *d, int64_t size_bytes,
                    bool is_proven, struct error *e)
{
    autoquery struct query q = query_start(&x->writer, SQL_PUT_HOLD);
    query_integer(&q, repository);
    query_digest(&q, d);
    query_integer(&q, size_bytes < 0 ? -1 : size_bytes);
    query_integer(&q, is_proven);
    return query_run(&q, e);
}

static int put_manifest_row(struct index *x, const struct digest *d, const struct manifest *m,
                            struct error *e)
{
    const struct digest *subject = NULL;
    for (size_t i = 0; i < m->child_count; i++)
        if (m->children[i].kind == CHILD_SUBJECT)
            subject = &m->children[i].digest;
    autoquery struct query q = query_start(&x->writer, SQL_PUT_MANIFEST);
    query_digest(&q, d);
    query_text(&q, m->media_type);
    query_text(&q, m->artifact_type ? m->artifact_type : "");
    query_digest(&q, subject);
    query_text(&q, m->annotations ? m->annotations : "");
    return query_run(&q, e);
}

static int put_child(struct index *x, const struct digest *parent, size_t position,
                     const struct child *c, struct error *e)
{
    autoquery struct query q = query_start(&x->writer, SQL_PUT_CHILD);
    query_digest(&q, parent);
    query_integer(&q, (int64_t)position);
    query_digest(&q, &c->digest);
    query_integer(&q, c->kind);
    query_text(&q, c->media_type ? c->media_type : "");
    query_integer(&q, c->size_bytes);
    query_text(&q, c->platform ? c->platform : "");
    return query_run(&q, e);
}

int index_put_manifest(struct index *x, const struct digest *d, const struct manifest *m,
                       const char *registry, const char *repository, struct error *e)
{
    int64_t id = 0;
    bool is_held = registry && repository;
    if (put_manifest_row(x, d, m, e) < 0 || run_with_digest(x, SQL_REMOVE_CHILDREN, d, e) < 0)
        return -1;
    if (is_held && (make_repository(x, registry, repository, &id, e) < 0 ||
                    put_hold(x, id, d, -1, true, e) < 0))
        return -1;
    for (size_t i = 0; i < m->child_count; i++) {
        const struct child *c = &m->children[i];
        if (put_child(x, d, i, c, e) < 0)
            return -1;
        /* A subject may live elsewhere or nowhere: being named as one gives no right to it. */
        if (is_held && c->kind != CHILD_SUBJECT &&
            put_hold(x, id, &c->digest, c->size_bytes, false, e) < 0)
            return -1;
    }
    return 0;
}

int index_put_hold(struct index *x, const char *registry, const char *repository,
                   const struct digest *d, int64_t size_bytes, struct error *e)
{
    int64_t id = 0;
    if (make_repository(x, registry, repository, &id, e) < 0)
        return -1;
    return put_hold(x, id, d, size_bytes, true, e);
}

int index_put_tag(struct index *x, const char *registry, const char *repository, const char *tag,
                  const struct digest *d, int64_t checked_at, struct error *e)
{
    int64_t id = 0;
    if (make_repository(x, registry, repository, &id, e) < 0)
        return -1;
    autoquery struct query q = query_start(&x->writer, SQL_PUT_TAG);
    query_integer(&q, id);
    query_text(&q, tag);
    query_digest(&q, d);
    query_integer(&q, checked_at);
    return query_run(&q, e);
}

int index_remove_tag(struct index *x, const char *registry, const char *repository, const char *tag,
                     struct error *e)
{
    autoquery struct query q = query_start(&x->writer, SQL_REMOVE_TAG);
    query_text(&q, registry);
    query_text(&q, repository);
    query_text(&q, tag);
    return query_run(&q, e);
}

int index_put_listing(struct index *x, const char *registry, const char *repository,
                      const char *kind, const char *key, const char *body, size_t length,
                      int64_t fetched_at, struct error *e)
{
    int64_t id = 0;
    if (make_repository(x, registry, repository, &id, e) < 0)
        return -1;
    autoquery struct query q = query_start(&x->writer, SQL_PUT_LISTING);
    query_integer(&q, id);
    query_text(&q, kind);
    query_text(&q, key);
    query_bytes(&q, body, length);
    query_integer(&q, fetched_at);
    return query_run(&q, e);
}

int index_touch(struct index *x, const struct digest *d, int64_t used_at, struct error *e)
{
    autoquery struct query q = query_start(&x->writer, SQL_TOUCH);
    query_digest(&q, d);
    query_integer(&q, used_at);
    return query_run(&q, e);
}

int index_add_hits(struct index *x, const struct digest *d, int64_t hits, struct error *e)
{
    autoquery struct query q = query_start(&x->writer, SQL_ADD_HITS);
    query_digest(&q, d);
    query_integer(&q, hits);
    return query_run(&q, e);
}

int index_renew(struct index *x, const struct digest *d, struct error *e)
{
    autoquery struct query q = query_start(&x->writer, SQL_RENEW);
    query_digest(&q, d);
    query_integer(&q, x->turn);
    return query_run(&q, e);
}

int index_put_scrub(struct index *x, const struct index_scrub *scrub, struct error *e)
{
    autoquery struct query q = query_start(&x->writer, SQL_PUT_SCRUB);
    query_digest(&q, &scrub->place);
    query_integer(&q, scrub->began_at);
    return query_run(&q, e);
}

/* --- pins ------------------------------------------------------------------------------------- */

int index_put_pin(struct index *x, const char *registry, const char *repository,
                  const char *reference, int64_t now_s, struct error *e)
{
    int64_t id = 0;
    struct digest d = {0};
    if (strchr(reference, ':') && digest_parse(slice_of(reference), &d) != 1)
        return error_set(e, ERR_DIGEST_INVALID, "\"%.200s\" is no digest", reference);
    if (make_repository(x, registry, repository, &id, e) < 0)
        return -1;
    autoquery struct query q = query_start(&x->writer, SQL_PUT_PIN);
    query_integer(&q, id);
    query_text(&q, reference);
    query_digest(&q, &d);
    query_integer(&q, now_s);
    return query_step(&q, e);
}

int index_remove_pin(struct index *x, const char *registry, const char *repository,
                     const char *reference, struct error *e)
{
    autoquery struct query q = query_start(&x->writer, SQL_REMOVE_PIN);
    query_text(&q, registry);
    query_text(&q, repository);
    query_text(&q, reference);
    return query_step(&q, e);
}

static int find_by_digest(struct index *x, enum sql_name name, const struct digest *d,
                          struct error *e)
{
    autoquery struct query q = query_start(&x->writer, name);
    query_digest(&q, d);
    return query_step(&q, e);
}

int index_is_pinned(struct index *x, const struct digest *d, struct error *e)
{
    return find_by_digest(x, SQL_FIND_PIN, d, e);
}

int index_is_below_pin(struct index *x, const struct digest *d, struct error *e)
{
    return find_by_digest(x, SQL_FIND_PIN_ABOVE, d, e);
}
