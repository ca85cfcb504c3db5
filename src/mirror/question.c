/* SPDX-License-Identifier: Apache-2.0
 * Order at the end of a question: what was learnt goes into memory, the question leaves the flights
 * table, its answer is done. So whoever comes later finds either the question or what came of it.
 */
#include "mirror/question.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "cache/ledger.h"
#include "cache/store.h"
#include "fetch/fetcher.h"
#include "fetch/listing.h"
#include "fetch/pull.h"
#include "mirror/fill.h"
#include "mirror/flights.h"
#include "mirror/known.h"
#include "upstream/upstream.h"

struct question {
    struct call call; /* first */
    struct mirror *mirror;
    struct answer *answer;
    struct ask ask;
    char *key;
    struct content *held;
    struct answer *stale;
    bool is_hearsay; /* the tag was told by a mirror, the origin being out of reach */
    char reference[DIGEST_TEXT_MAX]; /* the tag, or the digest as text */
};

/* --- the end of a question -------------------------------------------------------------------- */

static void finish(struct question *q)
{
    flights_end(q->mirror->flights, q->key);
    answer_finish(q->answer);
    answer_unref(q->answer);
    if (q->held)
        content_unref(q->held);
    if (q->stale)
        answer_unref(q->stale);
    free(q->key);
    free(q);
}

static void finish_content(struct question *q, struct content *c, enum cache_outcome cache)
{
    if (cache != CACHE_STORED) /* that it came is no use of it yet */
        known_use(q->mirror->known, c, q->ask.upstream->registry, q->ask.repository,
                  !q->ask.is_head);
    q->answer->kind = ANSWER_CONTENT;
    q->answer->cache = cache;
    q->answer->content = c;
    q->answer->digest = c->digest;
    if (q->ask.tag[0])
        q->answer->checked_at_ms = clock_wall_s() * 1000;
    if (q->ask.kind == ASK_MANIFEST && !q->ask.is_head && !q->ask.goes_alone)
        ahead_manifest(q->mirror->ahead, q->ask.upstream, q->ask.repository, c);
    finish(q);
}

/* What a mirror says about a tag: served, saying so, and believed for a few seconds only. */
static void finish_hearsay(struct question *q, struct content *c, const struct pulled *p)
{
    const struct ask *a = &q->ask;
    struct answer *answer = q->answer;
    log_event(LOG_LEVEL_WARNING, "serving a tag by the word of a mirror",
              LOG_S("registry", a->upstream->registry), LOG_S("repository", a->repository),
              LOG_S("tag", a->tag), LOG_END);
    auto_unref(note) struct note *n = note_new();
    n->digest = c ? c->digest : p->digest;
    n->size_bytes = c ? c->size_bytes : p->size_bytes;
    slice_copy(slice_of(c ? c->media_type : p->media_type), n->media_type, sizeof n->media_type);
    n->freshness.failed_at_ms = clock_wall_s() * 1000;
    known_put_note(q->mirror->known, a->upstream->registry, a->repository, a->tag, n);
    answer->kind = c ? ANSWER_CONTENT : ANSWER_HEAD;
    answer->cache = CACHE_STALE;
    answer->content = c;
    answer->digest = n->digest;
    answer->size_bytes = n->size_bytes;
    slice_copy(slice_of(n->media_type), answer->media_type, sizeof answer->media_type);
    finish(q);
}

static void finish_error(struct question *q, const struct error *why)
{
    q->answer->kind = ANSWER_ERROR;
    q->answer->error = *why;
    if (why->kind == ERR_NOT_FOUND)
        q->answer->error.kind = q->ask.kind == ASK_BLOB ? ERR_BLOB_UNKNOWN : ERR_MANIFEST_UNKNOWN;
    finish(q);
}

static bool is_missing(const struct error *why)
{
    return why->kind == ERR_NOT_FOUND || why->kind == ERR_NAME_UNKNOWN;
}

/* The upstream could not or would not tell: what is held, however old, else the error. */
static void finish_without(struct question *q, const struct error *why)
{
    const struct ask *a = &q->ask;
    struct mirror *m = q->mirror;
    bool is_gone = is_missing(why);
    if (a->kind != ASK_TAGS && a->kind != ASK_REFERRERS)
        known_fail_note(m->known, a->upstream->registry, a->repository, q->reference, is_gone);
    if (is_gone || !q->held || !a->tag[0]) {
        if (!is_gone)
            log_event(LOG_LEVEL_WARNING, "an upstream failed",
                      LOG_S("upstream", upstream_origin(a->upstream)->url),
                      LOG_S("repository", a->repository), LOG_S("reference", q->reference),
                      LOG_S("error", why->text), LOG_END);
        finish_error(q, why);
        return;
    }
    log_event(LOG_LEVEL_WARNING, "serving a stale tag", LOG_S("repository", a->repository),
              LOG_S("tag", a->tag), LOG_S("error", why->text), LOG_END);
    auto_unref(note) struct note *n =
        known_note(m->known, NULL, a->upstream->registry, a->repository, a->tag);
    q->answer->kind = ANSWER_CONTENT;
    q->answer->cache = CACHE_STALE;
    q->answer->upstream_status = why->upstream_status;
    known_use(m->known, q->held, a->upstream->registry, a->repository, !a->is_head);
    q->answer->content = take(q->held);
    q->answer->digest = q->answer->content->digest;
    q->answer->checked_at_ms = n ? n->freshness.checked_at_ms : 0;
    finish(q);
}

/* --- manifests and descriptors ---------------------------------------------------------------- */

static void manifest_came(void *cls, const struct pulled *p, const struct error *why)
{
    struct question *q = cls;
    if (why) {
        finish_without(q, why);
        return;
    }
    const struct ask *a = &q->ask;
    bool is_hearsay = a->tag[0] && (q->is_hearsay || !p->is_confirmed);
    struct content *c = known_put_manifest(q->mirror->known, a->upstream->registry, a->repository,
                                           a->tag[0] && !is_hearsay ? a->tag : NULL, p);
    if (is_hearsay)
        finish_hearsay(q, c, p);
    else
        finish_content(q, c, CACHE_STORED);
}

static void get_manifest(struct question *q, const char *reference)
{
    const struct manifest_request r = {
        .upstream = q->ask.upstream, .repository = q->ask.repository, .reference = reference};
    pull_manifest(q->mirror->fetcher, &r, manifest_came, q);
}

static void finish_head(struct question *q, const struct pulled *p)
{
    q->answer->kind = ANSWER_HEAD;
    q->answer->cache = CACHE_FORWARDED;
    q->answer->digest = p->digest;
    q->answer->size_bytes = p->size_bytes;
    slice_copy(slice_of(p->media_type), q->answer->media_type, sizeof q->answer->media_type);
    if (q->ask.tag[0])
        q->answer->checked_at_ms = clock_wall_s() * 1000;
    finish(q);
}

/* Some upstreams know no HEAD; some answer it with a web page. */
static bool head_is_useless(const struct pulled *p, const struct error *why)
{
    if (why)
        return why->upstream_status == 405 || why->upstream_status == 501;
    return strcmp(p->media_type, "text/html") == 0;
}

static void tag_was_told(void *cls, const struct pulled *p, const struct error *why)
{
    struct question *q = cls;
    const struct ask *a = &q->ask;
    struct known *k = q->mirror->known;
    bool is_useless = head_is_useless(p, why);
    if (why && !is_useless) {
        finish_without(q, why);
        return;
    }
    if (is_useless || p->digest.algorithm == 0 || p->size_bytes == 0) {
        get_manifest(q, a->tag);
        return;
    }
    q->is_hearsay = !p->is_confirmed; /* never so if it is held: then only the origin is asked */
    struct content *c = NULL;
    if (q->is_hearsay) {
        char digest[DIGEST_TEXT_MAX];
        if (a->is_head)
            finish_hearsay(q, NULL, p);
        else
            get_manifest(q, digest_print(&p->digest, digest));
        return;
    }
    if (q->held && digest_equals(&q->held->digest, &p->digest))
        c = take(q->held);
    else if ((c = known_content(k, NULL, &p->digest, true)) ||
             content_open(q->mirror->store, &p->digest, p->media_type, &c, NULL) == 1)
        known_put_hold(k, a->upstream->registry, a->repository, &p->digest, (int64_t)p->size_bytes,
                       true);
    if (c || a->is_head)
        known_confirm_tag(k, a->upstream->registry, a->repository, a->tag, &p->digest,
                          p->size_bytes, p->media_type);
    if (c) {
        known_put_content(k, c);
        finish_content(q, c, CACHE_REVALIDATED);
    } else if (a->is_head) {
        known_put_hold(k, a->upstream->registry, a->repository, &p->digest, (int64_t)p->size_bytes,
                       true);
        finish_head(q, p);
    } else {
        char digest[DIGEST_TEXT_MAX];
        get_manifest(q, digest_print(&p->digest, digest));
    }
}

/* This repository may have the blob: what of it came meanwhile, or a flow. */
static void finish_blob(struct question *q)
{
    const struct ask *a = &q->ask;
    struct mirror *m = q->mirror;
    struct content *c = NULL;
    bool joined;
    do {
        uint64_t ended = flights_ended(m->flights);
        if (content_open(m->store, &a->digest, "", &c, NULL) == 1) {
            finish_content(q, c, CACHE_REVALIDATED);
            return;
        }
        q->answer->flow = fill_join(m, a->upstream, a->repository, &a->digest, -1, ended, &joined);
    } while (!q->answer->flow);
    q->answer->kind = ANSWER_FLOW;
    q->answer->digest = a->digest;
    q->answer->cache = joined ? CACHE_COLLAPSED : CACHE_STORED;
    finish(q);
}

/* A HEAD by digest: is it there, may this repository have it? */
static void digest_was_told(void *cls, const struct pulled *p, const struct error *why)
{
    struct question *q = cls;
    const struct ask *a = &q->ask;
    if (a->kind == ASK_MANIFEST && head_is_useless(p, why)) {
        get_manifest(q, q->reference);
        return;
    }
    if (a->kind == ASK_BLOB && !q->held && (head_is_useless(p, why) || (!why && !p->has_size))) {
        finish_blob(q);
        return;
    }
    if (why) {
        finish_without(q, why);
        return;
    }
    struct pulled told = *p;
    told.digest = a->digest;
    if (a->kind == ASK_MANIFEST && !q->held && p->size_bytes == 0) {
        get_manifest(q, q->reference); /* a HEAD without a length tells too little */
        return;
    }
    /* A HEAD's length is no promise: only a descriptor's is held against a source. A mirror's word
     * is no right to what came from elsewhere. */
    if (p->is_confirmed)
        known_put_hold(q->mirror->known, a->upstream->registry, a->repository, &a->digest, -1,
                       true);
    if (q->held) {
        finish_content(q, take(q->held), CACHE_REVALIDATED);
    } else if (a->is_head) {
        finish_head(q, &told);
    } else {
        finish_blob(q);
    }
}

/* --- listings --------------------------------------------------------------------------------- */

static void finish_listing(struct question *q, const char *items, bool is_confirmed)
{
    const struct ask *a = &q->ask;
    bool is_tags = a->kind == ASK_TAGS;
    q->answer->kind = ANSWER_LISTING;
    q->answer->cache = CACHE_STORED;
    q->answer->items = alloc_string(items);
    if (!is_confirmed) {
        q->answer->cache = CACHE_STALE;
        finish(q);
        return;
    }
    q->answer->checked_at_ms = clock_wall_s() * 1000;
    known_put_listing(q->mirror->known, q->key, q->answer);
    ledger_put_listing(q->mirror->ledger, a->upstream->registry, a->repository,
                       is_tags ? "tags" : "referrers", is_tags ? "" : q->reference, items,
                       strlen(items));
    finish(q);
}

static void listing_failed(struct question *q, const struct error *why)
{
    if (is_missing(why) || !q->stale) {
        struct error e = *why;
        if (e.kind == ERR_NOT_FOUND)
            e.kind = ERR_NAME_UNKNOWN;
        finish_error(q, &e);
        return;
    }
    q->answer->kind = ANSWER_LISTING;
    q->answer->cache = CACHE_STALE;
    q->answer->upstream_status = why->upstream_status;
    q->answer->items = alloc_string(q->stale->items);
    q->answer->checked_at_ms = q->stale->checked_at_ms;
    finish(q);
}

static void fallback_came(void *cls, const struct pulled *p, const struct error *why)
{
    struct question *q = cls;
    if (why && why->kind == ERR_NOT_FOUND) {
        finish_listing(q, "", true);
        return;
    }
    if (why) {
        listing_failed(q, why);
        return;
    }
    autostr struct str items = {0};
    autojson struct json_t *index = json_parse(p->bytes, (size_t)p->size_bytes, NULL);
    const struct json_t *array = index ? json_get_array(index, "manifests") : NULL;
    for (size_t i = 0; array && i < json_count(array); i++) {
        if (i > 0)
            str_add_char(&items, ',');
        json_print(json_item(array, i), &items);
    }
    finish_listing(q, str_text(&items), p->is_confirmed);
}

static void listing_came(void *cls, const char *items, bool is_confirmed, const struct error *why)
{
    struct question *q = cls;
    if (!why) {
        finish_listing(q, items, is_confirmed);
    } else if (q->ask.kind == ASK_REFERRERS && why->kind == ERR_NOT_FOUND) {
        char tag[TAG_MAX + 1];
        reference_fallback_tag(&q->ask.digest, tag);
        const struct manifest_request r = {.upstream = q->ask.upstream,
                                           .repository = q->ask.repository,
                                           .reference = tag,
                                           .needs_origin = q->stale != NULL,
                                           .can_do_without = q->stale != NULL};
        pull_manifest(q->mirror->fetcher, &r, fallback_came, q);
    } else {
        listing_failed(q, why);
    }
}

static void ask_listing(struct question *q)
{
    const struct ask *a = &q->ask;
    bool is_tags = a->kind == ASK_TAGS;
    autofree char *path = is_tags
                              ? alloc_format("/v2/%s/tags/list?n=1000", a->repository)
                              : alloc_format("/v2/%s/referrers/%s", a->repository, q->reference);
    const struct listing_request r = {.upstream = a->upstream,
                                      .repository = a->repository,
                                      .path = path,
                                      .key = is_tags ? "tags" : "manifests",
                                      .can_do_without = q->stale != NULL};
    listing_pull(q->mirror->fetcher, &r, listing_came, q);
}

/* --- beginnings ------------------------------------------------------------------------------- */

/* A tag of a pool: HEAD tells the digest, which any source may then have (and Docker Hub counts
 * GETs only). What is held is confirmed by the origin, unless tags may be asked anywhere. */
static void ask_head_of_tag(struct question *q)
{
    const struct ask *a = &q->ask;
    const struct manifest_request r = {.upstream = a->upstream,
                                       .repository = a->repository,
                                       .reference = a->tag,
                                       .is_head = true,
                                       .needs_origin = q->held && !a->upstream->resolves_anywhere,
                                       .can_do_without = q->held != NULL};
    pull_manifest(q->mirror->fetcher, &r, tag_was_told, q);
}

/* A HEAD that gives a right to what came for another repository must be the origin's. */
static void ask_head_of_digest(struct question *q)
{
    const struct ask *a = &q->ask;
    const struct manifest_request r = {.upstream = a->upstream,
                                       .repository = a->repository,
                                       .reference = q->reference,
                                       .is_head = true,
                                       .is_blob = a->kind == ASK_BLOB,
                                       .needs_origin = q->held || !a->is_head};
    pull_manifest(q->mirror->fetcher, &r, digest_was_told, q);
}

static void run(struct call *c)
{
    struct question *q = (struct question *)c;
    const struct ask *a = &q->ask;
    bool is_pool = a->upstream->source_count > 1;
    metric_add(questions_total, 1);
    if (a->kind == ASK_TAGS || a->kind == ASK_REFERRERS)
        ask_listing(q);
    else if (a->tag[0] && (q->held || a->is_head || is_pool))
        ask_head_of_tag(q);
    else if (!a->tag[0] && (a->kind == ASK_BLOB || a->is_head || (q->held && !is_pool)))
        ask_head_of_digest(q);
    else
        get_manifest(q, q->reference);
}

static const struct error too_many = {
    .kind = ERR_BUSY,
    .text = "too many questions wait for the upstreams, or the mirror is stopping"};

struct answer *question_ask(struct mirror *m, const struct ask *a, const char *key,
                            struct content *held, struct answer *stale, uint64_t ended,
                            bool *joined)
{
    bool begun;
    struct answer *answer = flights_join(m->flights, key, ended, &begun);
    *joined = !begun;
    if (!answer || !begun)
        return answer;
    struct question *q = alloc_zero(sizeof *q);
    *q = (struct question){.call.run = run,
                           .mirror = m,
                           .answer = answer_ref(answer),
                           .ask = *a,
                           .key = alloc_string(key),
                           .held = held ? content_ref(held) : NULL,
                           .stale = stale ? answer_ref(stale) : NULL};
    if (a->tag[0])
        slice_copy(slice_of(a->tag), q->reference, sizeof q->reference);
    else if (a->digest.algorithm)
        digest_print(&a->digest, q->reference);
    if (!fetcher_post(m->fetcher, &q->call))
        finish_error(q, &too_many);
    return answer;
}
