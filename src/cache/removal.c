/* SPDX-License-Identifier: Apache-2.0
 * All names are looked up before the first goes. Files before rows, as in evict.c. What may have to
 * go with something is put on a list and looked at once that is gone. */
#include "cache/removal.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "cache/index.h"
#include "cache/sql.h"
#include "cache/store.h"
#include "oci/reference.h"

/* One of those that were asked for. */
struct target {
    bool is_bare; /* a digest and no name */
    struct reference name;
    struct digest digest; /* that it means */
};

struct removal {
    const struct keep *keep;
    struct sql *sql;
    int64_t repository;      /* that its name is in; 0: none */
    struct digest *suspects; /* what may go with it */
    size_t count, room;
    int64_t blobs, bytes; /* that went */
};

/* --- looking up ------------------------------------------------------------------------------- */

static struct query ask(struct sql *sql, enum sql_name name, const struct target *t)
{
    struct query q = query_start(sql, name);
    query_text(&q, t->name.registry);
    query_text(&q, t->name.repository);
    return q;
}

/* 1 and its size, 0 it is not here, -1. */
static int find_blob(struct sql *sql, const struct digest *d, int64_t *size_bytes, struct error *e)
{
    autoquery struct query q = query_start(sql, SQL_FIND_BLOB);
    query_digest(&q, d);
    int got = query_step(&q, e);
    if (got == 1)
        *size_bytes = query_get_integer(&q, 0);
    return got;
}

static int find_tag(struct sql *sql, struct target *t, struct error *e)
{
    autoquery struct query q = ask(sql, SQL_FIND_TAG, t);
    query_text(&q, t->name.tag);
    int got = query_step(&q, e);
    return got == 1 && query_get_digest(&q, 0, &t->digest, e) < 0 ? -1 : got;
}

/* Here, and held by that repository. */
static int find_digest(struct sql *sql, struct target *t, struct error *e)
{
    int64_t ignored;
    t->digest = t->name.digest;
    int got = find_blob(sql, &t->digest, &ignored, e);
    if (got < 1)
        return got;
    autoquery struct query q = ask(sql, SQL_FIND_HOLD, t);
    query_digest(&q, &t->digest);
    return query_step(&q, e);
}

static int find(struct sql *sql, const char *text, struct target *t, struct error *e)
{
    int64_t ignored;
    t->is_bare = reference_is_digest(slice_of(text), &t->digest);
    if (!t->is_bare && reference_parse(slice_of(text), &t->name, e) < 0)
        return -1;
    int got = t->is_bare                 ? find_blob(sql, &t->digest, &ignored, e)
              : t->name.digest.algorithm ? find_digest(sql, t, e)
                                         : find_tag(sql, t, e);
    return got == 0 ? error_set(e, ERR_NOT_FOUND, "nothing is held of %.200s", text) : got;
}

/* Who keeps it, as text: 1, 0 nobody, -1. */
static int find_keeper(const struct removal *r, const struct digest *d, struct str *out,
                       struct error *e)
{
    char text[DIGEST_TEXT_MAX];
    struct digest by;
    autoquery struct query q = query_start(r->sql, SQL_FIND_KEEPER);
    query_digest(&q, d);
    if (r->repository)
        query_integer(&q, r->repository);
    int got = query_step(&q, e);
    if (got < 1 || query_get_digest(&q, 1, &by, e) < 0)
        return got < 1 ? got : -1;
    str_add(out, query_get_text(&q, 0));
    if (out->length == 0)
        str_add(out, digest_print(&by, text));
    return 1;
}

/* --- going ------------------------------------------------------------------------------------ */

static int run(struct removal *r, enum sql_name name, const struct digest *d, struct error *e)
{
    autoquery struct query q = query_start(r->sql, name);
    query_digest(&q, d);
    return query_run(&q, e);
}

/* What that statement finds about it may have to go as well. */
static int suspect(struct removal *r, enum sql_name name, const struct digest *d, struct error *e)
{
    int got;
    autoquery struct query q = query_start(r->sql, name);
    query_digest(&q, d);
    while ((got = query_step(&q, e)) > 0) {
        if (r->count == r->room) {
            r->room = r->room ? r->room * 2 : 64;
            r->suspects = alloc_grow(r->suspects, r->room, sizeof *r->suspects);
        }
        if (query_get_digest(&q, 0, &r->suspects[r->count], e) < 0)
            return -1;
        r->count++;
    }
    return got;
}

/* is_named: something here still names it, so it may come again under the rights that were seen. */
static int let_go(struct removal *r, const struct digest *d, bool is_named, int64_t size_bytes,
                  struct error *e)
{
    static const enum sql_name names[] = {SQL_REMOVE_CHILD_HOLDS, SQL_REMOVE_HOLDS,
                                          SQL_REMOVE_TAGS_OF};
    if (suspect(r, SQL_EACH_BELOW, d, e) < 0 || suspect(r, SQL_EACH_ABOUT, d, e) < 0)
        return -1;
    for (size_t i = 0; !is_named && i < sizeof names / sizeof *names; i++)
        if (run(r, names[i], d, e) < 0)
            return -1;
    if (store_remove(r->keep->store, d, e) < 0)
        return -1;
    if (r->keep->gone)
        r->keep->gone(r->keep->cls, d);
    r->blobs++;
    r->bytes += size_bytes;
    return index_remove_blob(r->keep->index, d, e);
}

/* What went may have been the last to name it. */
static int look_at_suspect(struct removal *r, const struct digest *d, struct error *e)
{
    int64_t size_bytes = 0;
    autostr struct str keeper = {0};
    int held = find_blob(r->sql, d, &size_bytes, e);
    if (held < 1)
        return held;
    int kept = find_keeper(r, d, &keeper, e);
    if (kept == 0)
        kept = index_is_pinned(r->keep->index, d, e);
    return kept != 0 ? (kept < 0 ? -1 : 0) : let_go(r, d, false, size_bytes, e);
}

static int look_at_suspects(struct removal *r, struct error *e)
{
    while (r->count > 0) {
        const struct digest d = r->suspects[--r->count];
        if (look_at_suspect(r, &d, e) < 0)
            return -1;
    }
    return 0;
}

/* The name, or all of that repository that means the digest. */
static int forget_name(struct removal *r, const struct target *t, struct error *e)
{
    bool is_tag = !t->name.digest.algorithm;
    {
        autoquery struct query q = ask(r->sql, SQL_FIND_REPOSITORY, t);
        int got = query_step(&q, e);
        if (got < 0)
            return -1;
        r->repository = got == 1 ? query_get_integer(&q, 0) : 0;
    }
    autoquery struct query q = ask(r->sql, is_tag ? SQL_REMOVE_TAG : SQL_REMOVE_TAGS_IN, t);
    if (is_tag)
        query_text(&q, t->name.tag);
    else
        query_digest(&q, &t->digest);
    return query_run(&q, e);
}

/* It is kept by somebody else; of this repository it is an image no more, unless by another tag. */
static int forget_hold(struct removal *r, const struct target *t, const char *keeper,
                       struct error *e)
{
    autostr struct str own = {0};
    str_format(&own, "%s/%s:", t->name.registry, t->name.repository);
    if (slice_starts(slice_of(keeper), str_text(&own)))
        return 0;
    autoquery struct query q = ask(r->sql, SQL_REMOVE_HOLD, t);
    query_digest(&q, &t->digest);
    return query_run(&q, e);
}

/* 0 or -1; *keeper says who keeps what it meant. */
static int remove_one(struct removal *r, const struct target *t, struct str *keeper,
                      struct error *e)
{
    int64_t size_bytes = 0;
    if (!t->is_bare && forget_name(r, t, e) < 0)
        return -1;
    int held = find_blob(r->sql, &t->digest, &size_bytes, e);
    int kept = held < 0 ? -1 : find_keeper(r, &t->digest, keeper, e);
    if (held < 1 || kept < 0)
        return kept < 0 ? -1 : 0;
    if (kept == 1 && !t->is_bare)
        return forget_hold(r, t, str_text(keeper), e);
    str_clear(keeper);
    return let_go(r, &t->digest, kept == 1, size_bytes, e) < 0 ? -1 : look_at_suspects(r, e);
}

/* --- the work --------------------------------------------------------------------------------- */

static int work_on(const struct keep *k, const struct target *t, struct str *report,
                   struct error *e)
{
    char digest[DIGEST_TEXT_MAX];
    autostr struct str keeper = {0}, name = {0};
    struct removal r = {.keep = k, .sql = index_writer(k->index)};
    int result = remove_one(&r, t, &keeper, e);
    free(r.suspects);
    if (result < 0)
        return -1;
    digest_print(&t->digest, digest);
    if (t->is_bare)
        str_add(&name, digest);
    else
        reference_print(&t->name, &name);
    json_write_open(report, NULL, '{');
    json_write_text(report, "image", str_text(&name));
    json_write_text(report, "digest", digest);
    json_write_number(report, "blobs", r.blobs);
    json_write_number(report, "freed", r.bytes);
    json_write_text(report, "kept_by", keeper.length > 0 ? str_text(&keeper) : NULL);
    json_write_close(report, '}');
    return 0;
}

static int work_on_all(const struct keep *k, const struct target *all, size_t count,
                       struct str *report, struct error *e)
{
    if (index_begin(k->index, e) < 0)
        return -1;
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++)
        result = work_on(k, &all[i], report, e);
    if (result == 0)
        result = index_commit(k->index, e);
    if (result < 0)
        index_rollback(k->index);
    return result;
}

int removal_work(const struct keep *k, struct slice request, struct str *report, struct error *e)
{
    autojson struct json_t *r = json_parse(request.at, request.length, e);
    const struct json_t *names = keep_names(r, e);
    if (!names)
        return -1;
    size_t count = json_count(names);
    autofree struct target *all = alloc_array(count + 1, sizeof *all);
    for (size_t i = 0; i < count; i++)
        if (find(index_writer(k->index), json_text(json_item(names, i)), &all[i], e) < 0)
            return -1;
    json_write_open(report, NULL, '{');
    json_write_open(report, "images", '[');
    if (work_on_all(k, all, count, report, e) < 0)
        return -1;
    json_write_close(report, ']');
    json_write_close(report, '}');
    return 0;
}
