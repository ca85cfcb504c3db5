/* SPDX-License-Identifier: Apache-2.0
 * The set is two scratch tables of the connection: digests by repository (0: of whichever), closed
 * over what manifests name, and tags. A blob goes if it is in neither the set nor anybody's hands
 * by then: what a client fetched anew meanwhile stays. Files before rows, as in evict.c. */
#include "cache/prune.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "cache/index.h"
#include "cache/sql.h"
#include "cache/store.h"

enum { SLICE_ROWS = 256, SLICE_US = 3000 };

struct prune {
    struct sql *sql;
    struct index *x;    /* NULL: beside */
    struct digest last; /* of the blobs that were looked at */
};

static int clear(struct sql *sql, struct error *e)
{
    return sql_run(sql, SQL_FORGET_WANTED, e) < 0 ? -1 : sql_run(sql, SQL_FORGET_WANTED_TAGS, e);
}

static struct prune *open_on(struct sql *sql, struct index *x, struct error *e)
{
    struct prune *p = alloc_zero(sizeof *p);
    p->sql = sql;
    p->x = x;
    if (clear(sql, e) == 0)
        return p;
    free(p);
    return NULL;
}

struct prune *prune_open(struct index *x, struct error *e)
{
    return open_on(index_writer(x), x, e);
}

struct prune *prune_open_beside(struct index_reader *r, struct error *e)
{
    struct sql *sql = index_reading(r);
    return sql_make_scratch(sql, e) < 0 ? NULL : open_on(sql, NULL, e);
}

void prune_close(struct prune *p)
{
    if (p)
        clear(p->sql, NULL);
    free(p);
}

/* --- the set ---------------------------------------------------------------------------------- */

int prune_want(struct prune *p, const char *registry, const char *repository,
               const struct digest *d, struct error *e)
{
    autoquery struct query q = query_start(p->sql, SQL_WANT);
    query_text(&q, registry);
    query_text(&q, repository);
    query_digest(&q, d);
    return query_run(&q, e);
}

int prune_want_tag(struct prune *p, const char *registry, const char *repository, const char *tag,
                   struct error *e)
{
    autoquery struct query q = query_start(p->sql, SQL_WANT_TAG);
    query_text(&q, registry);
    query_text(&q, repository);
    query_text(&q, tag);
    return query_run(&q, e);
}

int prune_want_blob(struct prune *p, const struct digest *d, struct error *e)
{
    autoquery struct query q = query_start(p->sql, SQL_WANT_BLOB);
    query_digest(&q, d);
    return query_run(&q, e);
}

static int count_blobs(struct prune *p, struct pruned *out, struct error *e)
{
    autoquery struct query q = query_start(p->sql, SQL_TALLY_UNWANTED);
    if (query_step(&q, e) < 0)
        return -1;
    out->blobs = (uint64_t)query_get_integer(&q, 0);
    out->bytes = (uint64_t)query_get_integer(&q, 1);
    return 0;
}

int prune_look(struct prune *p, void (*visit)(const char *image, void *cls), void *cls,
               struct pruned *out, struct error *e)
{
    static const enum sql_name rest[] = {SQL_WANT_PINNED_TAGS, SQL_WANT_PINNED, SQL_WANT_BELOW};
    struct pruned found = {0};
    int got;
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        if (sql_run(p->sql, rest[i], e) < 0)
            return -1;
    autoquery struct query q = query_start(p->sql, SQL_EACH_UNWANTED_TAG);
    while ((got = query_step(&q, e)) > 0) {
        found.tags++;
        if (visit)
            visit(query_get_text(&q, 0), cls);
    }
    if (got < 0 || count_blobs(p, &found, e) < 0)
        return -1;
    *out = found;
    return 0;
}

/* --- going ------------------------------------------------------------------------------------ */

int prune_names(struct prune *p, struct error *e)
{
    static const enum sql_name all[] = {SQL_PRUNE_TAGS, SQL_PRUNE_HOLDS, SQL_PRUNE_LISTINGS,
                                        SQL_PRUNE_IMPORTED};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (sql_run(p->sql, all[i], e) < 0)
            return -1;
    return 0;
}

/* The next of them: 1, 0 there is none, -1. */
static int find_next(struct prune *p, struct error *e)
{
    autoquery struct query q = query_start(p->sql, SQL_NEXT_UNWANTED);
    query_digest(&q, p->last.algorithm ? &p->last : NULL);
    int got = query_step(&q, e);
    return got == 1 && query_get_digest(&q, 0, &p->last, e) < 0 ? -1 : got;
}

static int pass_rows(struct prune *p, struct store *s,
                     void (*gone)(void *cls, const struct digest *d), void *cls, struct error *e)
{
    int64_t until_us = clock_mono_us() + SLICE_US;
    for (int i = 0; i < SLICE_ROWS && (i == 0 || clock_mono_us() < until_us); i++) {
        int got = find_next(p, e);
        if (got < 1)
            return got;
        if (store_remove(s, &p->last, e) < 0)
            return -1;
        if (gone)
            gone(cls, &p->last);
        if (index_remove_blob(p->x, &p->last, e) < 0)
            return -1;
    }
    return 1;
}

int prune_step(struct prune *p, struct store *s, void (*gone)(void *cls, const struct digest *d),
               void *cls, struct error *e)
{
    if (index_begin(p->x, e) < 0)
        return -1;
    int got = pass_rows(p, s, gone, cls, e);
    if (got >= 0 && index_commit(p->x, e) == 0)
        return got;
    index_rollback(p->x);
    return -1;
}
