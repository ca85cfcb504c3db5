/* SPDX-License-Identifier: Apache-2.0
 * Filling a flow from one upstream. A broken transfer goes on at the offset it reached, a few times
 * without progress; wrong bytes fail the flow unless they came from an earlier process and nobody
 * has read them yet. */
#include "fetch/pull.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/str.h"
#include "cache/flow.h"
#include "fetch/exchange.h"
#include "fetch/fetcher.h"
#include "upstream/upstream.h"

enum {
    TRIES_WITHOUT_PROGRESS = 4,
    UNSIZED_MAX_BYTES =
        128 << 20, /* of a blob whose size neither a manifest nor the answer states */
    CATCH_UP_SLICE =
        8 << 20, /* hashed between two rounds of the fetch thread: a few milliseconds */
};

struct blob_pull {
    struct fetcher *fetcher;
    struct upstream *upstream;
    char *repository;
    struct flow *flow;
    void (*done)(void *cls, const struct error *why);
    void *cls;
    struct exchange *exchange;
    struct timer step;  /* the next thing to do */
    struct timer flush; /* wakes readers */
    uint64_t offset;    /* where the next body byte belongs */
    uint64_t skip;      /* bytes to pass over: a source without ranges sends from 0 */
    bool has_size;      /* some answer stated it */
    bool progressed, refetched, is_answered; /* is_answered: an answer came to its end */
    unsigned failures;
};

static void next_step(struct timer *t);
static void flush(struct timer *t);

static void blob_end(struct blob_pull *p, const struct error *why)
{
    struct error e = {0};
    if (why) {
        e = *why;
        flow_fail(p->flow, why);
    }
    fetcher_clear_timer(p->fetcher, &p->step);
    fetcher_clear_timer(p->fetcher, &p->flush);
    p->done(p->cls, why ? &e : NULL);
    flow_unref(p->flow);
    free(p->repository);
    free(p);
}

static int blob_head(void *cls, const struct head *head, struct error *e)
{
    struct blob_pull *p = cls;
    uint64_t size;
    p->skip = 0;
    if (head->status == 206) {
        const struct content_range *r = &head->content_range;
        if (!head->has_content_range || r->is_unsatisfied || r->first != p->offset ||
            r->total == UINT64_MAX || r->last + 1 != r->total)
            return error_set(e, ERR_UPSTREAM, "%s answered another range than was asked",
                             upstream_origin(p->upstream)->url);
        size = r->total;
    } else {
        p->skip = p->offset;
        if (head->content_length < 0)
            return 0; /* chunked: the end of the body will tell */
        size = (uint64_t)head->content_length;
    }
    if (flow_set_size(p->flow, size, e) < 0)
        return error_prefix(e, "%s", upstream_origin(p->upstream)->url);
    p->has_size = true;
    return 0;
}

static int blob_body(void *cls, const void *bytes, size_t length, struct error *e)
{
    struct blob_pull *p = cls;
    if (p->skip > 0) {
        size_t n = p->skip < length ? (size_t)p->skip : length;
        p->skip -= n;
        bytes = (const char *)bytes + n;
        length -= n;
    }
    if (length == 0)
        return 0;
    if (p->offset + length > UNSIZED_MAX_BYTES && !p->has_size)
        return error_set(e, ERR_CORRUPT, "%s states no size and sends more than %d bytes",
                         upstream_origin(p->upstream)->url, UNSIZED_MAX_BYTES);
    if (flow_write(p->flow, p->offset, bytes, length, e) < 0)
        return -1;
    p->offset += length;
    p->progressed = true;
    int wait_ms = flow_flush(p->flow);
    if (wait_ms >= 0)
        fetcher_set_timer(p->fetcher, &p->flush, wait_ms);
    return 0;
}

static bool is_worth_another_try(struct blob_pull *p, const struct error *why)
{
    if (p->progressed)
        p->failures = 0;
    if (fetcher_is_stopping(p->fetcher) || ++p->failures >= TRIES_WITHOUT_PROGRESS)
        return false;
    switch (why->kind) {
    case ERR_UPSTREAM:
        return true;
    case ERR_TIMEOUT: /* before the first byte a client waits for the sum of all tries: one must do
                       */
        return flow_present(p->flow) > 0;
    default:
        return false;
    }
}

static void blob_answered(void *cls, const struct head *head, const struct error *why)
{
    struct blob_pull *p = cls;
    struct error none;
    (void)head;
    p->exchange = NULL;
    if (!why && p->skip > 0) {
        error_set(&none, ERR_UPSTREAM, "%s sent less than was already here",
                  upstream_origin(p->upstream)->url);
        why = &none;
    }
    uint64_t hole, length;
    if (!why && flow_hole(p->flow, 0, &hole, &length) && length != UINT64_MAX) {
        error_set(&none, ERR_UPSTREAM, "%s sent less than the whole",
                  upstream_origin(p->upstream)->url);
        why = &none;
        if (!flow_size(p->flow, &length))
            flow_restart(p->flow); /* it never stated a size: whatever that was, it was no blob */
    }
    if (!why) {
        p->is_answered = true;
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    if (why->kind == ERR_RANGE_INVALID && flow_restart(p->flow)) {
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    if (!is_worth_another_try(p, why)) {
        blob_end(p, why);
        return;
    }
    log_event(LOG_LEVEL_WARNING, "transfer broke, going on",
              LOG_S("upstream", upstream_origin(p->upstream)->url),
              LOG_S("repository", p->repository), LOG_I("offset", p->offset),
              LOG_S("error", why->text), LOG_END);
    fetcher_set_timer(p->fetcher, &p->step, p->failures <= 1 ? 0 : 250 << p->failures);
}

static void blob_ask(struct blob_pull *p, uint64_t offset)
{
    char digest[DIGEST_TEXT_MAX];
    struct error e;
    autofree char *path =
        alloc_format("/v2/%s/blobs/%s", p->repository, digest_print(flow_digest(p->flow), digest));
    p->offset = offset;
    p->progressed = p->is_answered = false;
    struct exchange_request r = {.source = upstream_origin(p->upstream),
                                 .repository = p->repository,
                                 .path = path,
                                 .accept = "*/*",
                                 .has_range = offset > 0,
                                 .range_first = offset,
                                 .range_last = UINT64_MAX,
                                 .on_head = blob_head,
                                 .on_body = blob_body,
                                 .on_done = blob_answered,
                                 .cls = p};
    p->exchange = exchange_start(p->fetcher, &r, &e);
    if (!p->exchange)
        blob_end(p, &e);
}

static void blob_finish(struct blob_pull *p)
{
    struct error e = {0};
    char digest[DIGEST_TEXT_MAX];
    if (flow_finish(p->flow, &e) == 0) {
        blob_end(p, NULL);
        return;
    }
    /* What an earlier process left may have been lost by the disk: fetch all of it once more. */
    if (!p->refetched && flow_restart(p->flow)) {
        p->refetched = true;
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    metric_add(upstream_corrupt_total, 1);
    log_event(LOG_LEVEL_ERROR, "upstream sent wrong bytes",
              LOG_S("upstream", upstream_origin(p->upstream)->url),
              LOG_S("repository", p->repository),
              LOG_S("digest", digest_print(flow_digest(p->flow), digest)), LOG_S("error", e.text),
              LOG_END);
    error_prefix(&e, "%s sent wrong bytes for %s", upstream_origin(p->upstream)->url, digest);
    blob_end(p, &e);
}

static void next_step(struct timer *t)
{
    struct blob_pull *p = (struct blob_pull *)((char *)t - offsetof(struct blob_pull, step));
    uint64_t offset = 0, length = 0;
    if (flow_catch_up(p->flow, CATCH_UP_SLICE)) {
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    bool is_missing = flow_hole(p->flow, 0, &offset, &length);
    bool is_open_ended =
        length == UINT64_MAX; /* no size was stated: the end of the answer is the end */
    if (!is_missing || (is_open_ended && p->is_answered))
        blob_finish(p);
    else
        blob_ask(p, offset);
}

static void flush(struct timer *t)
{
    struct blob_pull *p = (struct blob_pull *)((char *)t - offsetof(struct blob_pull, flush));
    int wait_ms = flow_flush(p->flow);
    if (wait_ms >= 0)
        fetcher_set_timer(p->fetcher, &p->flush, wait_ms);
}

static void open_flow(struct timer *t)
{
    struct blob_pull *p = (struct blob_pull *)((char *)t - offsetof(struct blob_pull, step));
    struct error e;
    if (flow_open(p->flow, &e) < 0) {
        blob_end(p, &e);
        return;
    }
    p->step.run = next_step;
    next_step(&p->step);
}

void pull_blob(struct fetcher *f, struct upstream *u, const char *repository, struct flow *flow,
               void (*done)(void *cls, const struct error *why), void *cls)
{
    struct blob_pull *p = alloc_zero(sizeof *p);
    *p = (struct blob_pull){.fetcher = f,
                            .upstream = u,
                            .repository = alloc_string(repository),
                            .flow = flow_ref(flow),
                            .done = done,
                            .cls = cls,
                            .step.run = open_flow,
                            .flush.run = flush};
    fetcher_set_timer(f, &p->step, 0);
}

/* --- manifests -------------------------------------------------------------------------------- */

struct manifest_pull {
    struct fetcher *fetcher;
    struct upstream *upstream;
    char *repository, *reference;
    bool is_head, is_blob;
    void (*done)(void *cls, const struct pulled *p, const struct error *why);
    void *cls;
    struct timer begin;
    struct str body;
};

static void manifest_end(struct manifest_pull *p, const struct pulled *found,
                         const struct error *why)
{
    p->done(p->cls, found, why);
    str_fini(&p->body);
    free(p->repository);
    free(p->reference);
    free(p);
}

static int manifest_head(void *cls, const struct head *head, struct error *e)
{
    struct manifest_pull *p = cls;
    if (!p->is_head && head->content_length > (int64_t)MANIFEST_MAX_BYTES)
        return error_set(
            e, ERR_UPSTREAM, "%s sent a manifest of %" PRId64 " bytes, more than %u are refused",
            upstream_origin(p->upstream)->url, head->content_length, MANIFEST_MAX_BYTES);
    return 0;
}

static int manifest_body(void *cls, const void *bytes, size_t length, struct error *e)
{
    struct manifest_pull *p = cls;
    if (p->body.length + length > MANIFEST_MAX_BYTES)
        return error_set(e, ERR_UPSTREAM, "%s sent a manifest of more than %u bytes",
                         upstream_origin(p->upstream)->url, MANIFEST_MAX_BYTES);
    str_add_bytes(&p->body, bytes, length);
    return 0;
}

/* Which digest the bytes must have: the one asked for, else the one the answer claims, else none.
 */
static int judge(struct manifest_pull *p, const struct head *head, struct pulled *found,
                 struct error *e)
{
    struct digest asked = {0}, claimed = {0};
    char text[DIGEST_TEXT_MAX];
    bool by_digest = strchr(p->reference, ':') && digest_parse(slice_of(p->reference), &asked) == 1;
    bool is_claimed = head->digest[0] && digest_parse(slice_of(head->digest), &claimed) == 1;
    const struct digest *wanted = by_digest ? &asked : is_claimed ? &claimed : NULL;
    if (by_digest && is_claimed && claimed.algorithm == asked.algorithm &&
        !digest_equals(&asked, &claimed))
        return error_set(e, ERR_CORRUPT, "%s answered %s when asked for %s",
                         upstream_origin(p->upstream)->url, head->digest, p->reference);
    if (p->is_head) {
        if (wanted)
            found->digest = *wanted;
        found->has_size = head->content_length >= 0;
        found->size_bytes = head->content_length > 0 ? (uint64_t)head->content_length : 0;
        manifest_plain_type(slice_of(head->content_type), found->media_type);
        return 0;
    }
    digest_of(wanted ? wanted->algorithm : DIGEST_SHA256, str_text(&p->body), p->body.length,
              &found->digest);
    if (wanted && !digest_equals(wanted, &found->digest)) {
        metric_add(upstream_corrupt_total, 1);
        return error_set(e, ERR_CORRUPT, "%s sent wrong bytes for %s %s: they are %s",
                         upstream_origin(p->upstream)->url, p->repository, p->reference,
                         digest_print(&found->digest, text));
    }
    found->has_size = true;
    found->size_bytes = p->body.length;
    found->bytes = str_text(&p->body);
    return 0;
}

static void manifest_answered(void *cls, const struct head *head, const struct error *why)
{
    struct manifest_pull *p = cls;
    struct pulled found = {0};
    struct manifest m;
    struct error e = {0};
    if (why) {
        e = *why;
        manifest_end(p, NULL, &e);
        return;
    }
    if (judge(p, head, &found, &e) < 0) {
        manifest_end(p, NULL, &e);
        return;
    }
    if (p->is_head) {
        manifest_end(p, &found, NULL);
        return;
    }
    if (manifest_parse(head->content_type[0] ? head->content_type : NULL, found.bytes,
                       found.size_bytes, &m, &e) < 0) {
        error_prefix(&e, "%s %s from %s", p->repository, p->reference,
                     upstream_origin(p->upstream)->url);
        manifest_end(p, NULL, &e);
        return;
    }
    slice_copy(slice_of(m.media_type), found.media_type, sizeof found.media_type);
    found.manifest = &m;
    manifest_end(p, &found, NULL);
    manifest_fini(&m);
}

static void manifest_begin(struct timer *t)
{
    struct manifest_pull *p =
        (struct manifest_pull *)((char *)t - offsetof(struct manifest_pull, begin));
    struct error e;
    autofree char *path = alloc_format("/v2/%s/%s/%s", p->repository,
                                       p->is_blob ? "blobs" : "manifests", p->reference);
    struct exchange_request r = {.source = upstream_origin(p->upstream),
                                 .repository = p->repository,
                                 .path = path,
                                 .is_head = p->is_head,
                                 .accept = p->is_blob ? "*/*" : manifest_accept,
                                 .on_head = manifest_head,
                                 .on_body = manifest_body,
                                 .on_done = manifest_answered,
                                 .cls = p};
    if (!exchange_start(p->fetcher, &r, &e))
        manifest_end(p, NULL, &e);
}

void pull_manifest(struct fetcher *f, struct upstream *u, const char *repository,
                   const char *reference, bool is_head, bool is_blob,
                   void (*done)(void *cls, const struct pulled *p, const struct error *why),
                   void *cls)
{
    struct manifest_pull *p = alloc_zero(sizeof *p);
    *p = (struct manifest_pull){.fetcher = f,
                                .upstream = u,
                                .repository = alloc_string(repository),
                                .reference = alloc_string(reference),
                                .is_head = is_head,
                                .is_blob = is_blob,
                                .done = done,
                                .cls = cls,
                                .begin.run = manifest_begin};
    fetcher_set_timer(f, &p->begin, 0);
}
