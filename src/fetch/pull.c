/* SPDX-License-Identifier: Apache-2.0
 * Filling a flow from a registry's sources. A transfer that breaks, stalls or crawls goes on at the
 * offset it reached, from whoever is best then, a few times without progress. Wrong bytes set aside
 * who had a part in them; they fail the flow unless nobody has read them yet. */
#include "fetch/pull.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/str.h"
#include "cache/flow.h"
#include "fetch/fetcher.h"
#include "fetch/race.h"
#include "fetch/standing.h"
#include "fetch/transfer.h"
#include "upstream/upstream.h"

enum {
    TRIES_WITHOUT_PROGRESS = 4,
    TRIES_OF_A_POOL = 2,          /* each asks all its sources */
    PACE_MS = 5000,               /* or the stall time-out: over which the floor is averaged */
    FLOOR_BYTES_PER_S = 20 << 10, /* below which another source is better */
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
    struct race *race;
    struct source *source;   /* whose bytes come; NULL: nobody's yet */
    struct source *sized_by; /* who stated the size that no manifest promised */
    uint32_t contributors;   /* bits of the sources whose bytes are here */
    uint32_t avoid;          /* of those that are not asked again for it */
    uint64_t paced;          /* received at the last look */
    uint64_t received;
    struct timer pace;
    struct timer step;  /* the next thing to do */
    struct timer flush; /* wakes readers */
    uint64_t offset;    /* where the next body byte belongs */
    uint64_t skip;      /* bytes to pass over: a source without ranges sends from 0 */
    bool has_size;      /* some answer stated it */
    bool is_promised;   /* its size was known before */
    bool had_leftover;  /* bytes of an earlier flow */
    bool is_doubtful;   /* sources contradict each other about its size */
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
        if (p->is_doubtful)
            e.kind = ERR_CORRUPT; /* what is here may be of the wrong size: none of it is kept */
        flow_fail(p->flow, &e);
    }
    fetcher_clear_timer(p->fetcher, &p->pace);
    fetcher_clear_timer(p->fetcher, &p->step);
    fetcher_clear_timer(p->fetcher, &p->flush);
    p->done(p->cls, why ? &e : NULL);
    flow_unref(p->flow);
    free(p->repository);
    free(p);
}

static bool is_pool(const struct blob_pull *p)
{
    return p->upstream->source_count > 1;
}

static const char *asked(const struct blob_pull *p)
{
    return p->source ? p->source->url : upstream_origin(p->upstream)->url;
}

static uint32_t bit_of(const struct blob_pull *p, const struct source *s)
{
    return 1u << (s - p->upstream->sources);
}

/* Without a promise, who stated the size first is as doubtful as who contradicts. */
static int contradicted(struct blob_pull *p, struct source *s, struct error *e)
{
    char digest[DIGEST_TEXT_MAX];
    if (is_pool(p) && !p->is_promised && p->sized_by && p->sized_by != s) {
        standing_blame(p->upstream, p->sized_by, true, p->repository,
                       digest_print(flow_digest(p->flow), digest));
        p->is_doubtful = true;
        e->kind = ERR_UPSTREAM;
    }
    return error_prefix(e, "%s", s->url);
}

static int blob_head(void *cls, struct source *s, const struct head *head, struct error *e)
{
    struct blob_pull *p = cls;
    uint64_t size;
    p->skip = 0;
    if (head->status == 206) {
        const struct content_range *r = &head->content_range;
        if (!head->has_content_range || r->is_unsatisfied || r->first != p->offset ||
            r->total == UINT64_MAX || r->last + 1 != r->total)
            return error_set(e, ERR_UPSTREAM, "%s answered another range than was asked", s->url);
        size = r->total;
    } else {
        p->skip = p->offset;
        if (head->content_length < 0) {
            p->source = s;
            return 0; /* chunked: the end of the body will tell */
        }
        size = (uint64_t)head->content_length;
    }
    if (flow_set_size(p->flow, size, e) < 0)
        return contradicted(p, s, e);
    if (!p->sized_by)
        p->sized_by = s;
    p->source = s;
    p->has_size = true;
    return 0;
}

static int blob_body(void *cls, const void *bytes, size_t length, struct error *e)
{
    struct blob_pull *p = cls;
    p->received += length;
    if (p->skip > 0) {
        size_t n = p->skip < length ? (size_t)p->skip : length;
        p->skip -= n;
        bytes = (const char *)bytes + n;
        length -= n;
    }
    if (length == 0)
        return 0;
    if (p->offset + length > UNSIZED_MAX_BYTES && !p->has_size)
        return error_set(e, ERR_CORRUPT, "%s states no size and sends more than %d bytes", asked(p),
                         UNSIZED_MAX_BYTES);
    if (flow_write(p->flow, p->offset, bytes, length, e) < 0)
        return -1;
    p->offset += length;
    p->contributors |= bit_of(p, p->source);
    p->progressed = true;
    int wait_ms = flow_flush(p->flow);
    if (wait_ms >= 0)
        fetcher_set_timer(p->fetcher, &p->flush, wait_ms);
    return 0;
}

static bool has_alternative(const struct blob_pull *p)
{
    char digest[DIGEST_TEXT_MAX];
    return standing_has_alternative(p->upstream, p->repository,
                                    digest_print(flow_digest(p->flow), digest), p->source,
                                    p->avoid);
}

static bool is_worth_another_try(struct blob_pull *p, const struct error *why)
{
    if (p->progressed)
        p->failures = 0;
    if (fetcher_is_stopping(p->fetcher) ||
        ++p->failures >= (is_pool(p) && !p->source ? TRIES_OF_A_POOL : TRIES_WITHOUT_PROGRESS))
        return false;
    switch (why->kind) {
    case ERR_UPSTREAM:
        return true;
    case ERR_TIMEOUT: /* before the first byte a client waits for the sum of all tries: one must do
                       */
        return flow_present(p->flow) > 0;
    case ERR_CORRUPT: /* more than the whole: whether its part of it was right, the digest tells */
        if (!p->source || !has_alternative(p))
            return false;
        p->avoid |= bit_of(p, p->source);
        if (flow_restart(p->flow))
            p->contributors = 0;
        return true;
    default:
        return false;
    }
}

/* An answer that came to its end and yet lacks something. */
static const struct error *too_little(struct blob_pull *p, struct error *e, const char *than)
{
    error_set(e, ERR_UPSTREAM, "%s sent less than %s", asked(p), than);
    if (p->source)
        standing_fail(p->upstream, p->source, HEALTH_ERROR, e->text);
    return e;
}

static void blob_answered(void *cls, struct source *source, const struct head *head,
                          const struct str *body, const struct error *why)
{
    struct blob_pull *p = cls;
    struct error none;
    (void)source;
    (void)head;
    (void)body;
    p->race = NULL;
    fetcher_clear_timer(p->fetcher, &p->pace);
    if (!why && p->skip > 0)
        why = too_little(p, &none, "was already here");
    uint64_t hole, length;
    if (!why && flow_hole(p->flow, 0, &hole, &length) && length != UINT64_MAX) {
        why = too_little(p, &none, "the whole");
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
    log_event(LOG_LEVEL_WARNING, "transfer broke, going on", LOG_S("upstream", asked(p)),
              LOG_S("repository", p->repository), LOG_I("offset", p->offset),
              LOG_S("error", why->text), LOG_END);
    fetcher_set_timer(p->fetcher, &p->step, p->failures <= 1 ? 0 : 250 << p->failures);
}

static void set_pace(struct blob_pull *p)
{
    int64_t stall_ms = fetcher_get_options(p->fetcher)->stall_timeout_ms;
    p->paced = p->received;
    fetcher_set_timer(p->fetcher, &p->pace, stall_ms < PACE_MS ? stall_ms : PACE_MS);
}

/* Drops a source that crawls, if there is a better one to go on with. */
static void pace(struct timer *t)
{
    struct blob_pull *p = (struct blob_pull *)((char *)t - offsetof(struct blob_pull, pace));
    int64_t stall_ms = fetcher_get_options(p->fetcher)->stall_timeout_ms;
    int64_t floor = FLOOR_BYTES_PER_S * (stall_ms < PACE_MS ? stall_ms : PACE_MS) / 1000;
    bool is_slow = (int64_t)(p->received - p->paced) < floor;
    if (!p->source || !is_slow || !has_alternative(p)) {
        set_pace(p);
        return;
    }
    log_event(LOG_LEVEL_WARNING, "transfer too slow, going on elsewhere",
              LOG_S("upstream", asked(p)), LOG_S("repository", p->repository),
              LOG_I("offset", p->offset), LOG_END);
    struct race *race = p->race;
    p->race = NULL;
    race_give_up(race);
    fetcher_set_timer(p->fetcher, &p->step, 0);
}

static void blob_ask(struct blob_pull *p, uint64_t offset)
{
    char digest[DIGEST_TEXT_MAX];
    digest_print(flow_digest(p->flow), digest);
    autofree char *path = alloc_format("/v2/%s/blobs/%s", p->repository, digest);
    p->offset = offset;
    p->progressed = p->is_answered = false;
    p->source = NULL;
    const struct race_request r = {.upstream = p->upstream,
                                   .order = RACE_ANY,
                                   .repository = p->repository,
                                   .path = path,
                                   .accept = "*/*",
                                   .digest = digest,
                                   .has_range = offset > 0,
                                   .range_first = offset,
                                   .avoid = p->avoid,
                                   .on_head = blob_head,
                                   .on_body = blob_body,
                                   .on_done = blob_answered,
                                   .cls = p};
    p->race = race_start(p->fetcher, &r);
    if (is_pool(p))
        set_pace(p);
}

/* Sets aside who had a part in wrong bytes. true: all of it can be asked of somebody else. */
static bool blame(struct blob_pull *p, const char *digest)
{
    const struct upstream *u = p->upstream;
    bool is_sole = (p->contributors & (p->contributors - 1)) == 0 && !p->had_leftover;
    uint32_t all = u->source_count < 32 ? (1u << u->source_count) - 1 : UINT32_MAX;
    for (size_t i = 0; i < u->source_count; i++)
        if (p->contributors & (1u << i))
            standing_blame(u, &u->sources[i], is_sole, p->repository, digest);
    p->avoid |= p->contributors;
    p->contributors = 0;
    return (p->avoid & all) != all;
}

static void blob_finish(struct blob_pull *p)
{
    struct error e = {0};
    char digest[DIGEST_TEXT_MAX];
    if (flow_finish(p->flow, &e) == 0) {
        blob_end(p, NULL);
        return;
    }
    digest_print(flow_digest(p->flow), digest);
    /* What an earlier process left may have been lost by the disk: fetch all of it once more. */
    bool is_first = !p->refetched && (p->had_leftover || !is_pool(p));
    bool has_others = !is_first && blame(p, digest) && is_pool(p);
    if ((is_first || has_others) && flow_restart(p->flow)) {
        p->refetched = true;
        p->had_leftover = false;
        p->contributors = 0;
        fetcher_set_timer(p->fetcher, &p->step, 0);
        return;
    }
    if (is_first)
        blame(p, digest);
    metric_add(upstream_corrupt_total, 1);
    log_event(LOG_LEVEL_ERROR, "upstream sent wrong bytes", LOG_S("upstream", asked(p)),
              LOG_S("repository", p->repository), LOG_S("digest", digest), LOG_S("error", e.text),
              LOG_END);
    error_prefix(&e, "%s sent wrong bytes for %s", asked(p), digest);
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
    uint64_t offset, length = 0;
    p->had_leftover = flow_present(p->flow) > 0;
    p->is_promised = !flow_hole(p->flow, 0, &offset, &length) || length != UINT64_MAX;
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
                            .pace.run = pace,
                            .flush.run = flush};
    fetcher_set_timer(f, &p->step, 0);
}

/* --- manifests -------------------------------------------------------------------------------- */

struct manifest_pull {
    struct manifest_request request; /* its strings are the pull's own */
    char *repository, *reference;
    struct digest asked; /* algorithm 0: a tag */
    void (*done)(void *cls, const struct pulled *p, const struct error *why);
    void *cls;
    /* of the answer that was taken */
    struct pulled found;
    struct manifest manifest;
    struct error error; /* its bytes are what was asked for, but no manifest */
};

static bool is_head(const struct manifest_pull *p)
{
    return p->request.is_head;
}

/* Which digest the bytes must have: the one asked for, else the one the answer claims, else none.
 */
static int judge(const struct manifest_pull *p, const struct source *s, const struct head *head,
                 const struct str *body, struct pulled *found, struct error *e)
{
    struct digest claimed = {0};
    char text[DIGEST_TEXT_MAX];
    const struct digest *asked = p->asked.algorithm ? &p->asked : NULL;
    bool is_claimed = head->digest[0] && digest_parse(slice_of(head->digest), &claimed) == 1;
    const struct digest *wanted = asked ? asked : is_claimed ? &claimed : NULL;
    if (asked && is_claimed && claimed.algorithm == asked->algorithm &&
        !digest_equals(asked, &claimed))
        return error_set(e, ERR_CORRUPT, "%s answered %s when asked for %s", s->url, head->digest,
                         p->reference);
    if (is_head(p)) {
        if (wanted)
            found->digest = *wanted;
        found->has_size = head->content_length >= 0;
        found->size_bytes = head->content_length > 0 ? (uint64_t)head->content_length : 0;
        manifest_plain_type(slice_of(head->content_type), found->media_type);
        return 0;
    }
    digest_of(wanted ? wanted->algorithm : DIGEST_SHA256, str_text(body), body->length,
              &found->digest);
    if (wanted && !digest_equals(wanted, &found->digest)) {
        metric_add(upstream_corrupt_total, 1);
        return error_set(e, ERR_CORRUPT, "%s sent wrong bytes for %s %s: they are %s", s->url,
                         p->repository, p->reference, digest_print(&found->digest, text));
    }
    found->has_size = true;
    found->size_bytes = body->length;
    return 0;
}

static int manifest_judge(void *cls, const struct source *s, const struct head *head,
                          const struct str *body, struct error *e)
{
    struct manifest_pull *p = cls;
    const struct upstream *u = p->request.upstream;
    bool is_origins = s == upstream_origin(u), by_digest = p->asked.algorithm != 0;
    struct pulled found = {.is_confirmed =
                               is_origins || (by_digest ? !is_head(p) : u->resolves_anywhere)};
    if (judge(p, s, head, body, &found, e) < 0)
        return -1;
    if (!is_head(p) && manifest_parse(head->content_type[0] ? head->content_type : NULL,
                                      str_text(body), body->length, &p->manifest, e) < 0) {
        error_prefix(e, "%s %s from %s", p->repository, p->reference, s->url);
        if (!by_digest && !is_origins)
            return -1; /* another may know better what the tag means */
        p->error = *e;
        return 0;
    }
    if (!is_head(p)) {
        slice_copy(slice_of(p->manifest.media_type), found.media_type, sizeof found.media_type);
        found.manifest = &p->manifest;
    }
    p->found = found;
    return 0;
}

static void manifest_answered(void *cls, struct source *source, const struct head *head,
                              const struct str *body, const struct error *why)
{
    struct manifest_pull *p = cls;
    (void)source;
    (void)head;
    if (!why && p->error.kind != ERR_NONE)
        why = &p->error;
    p->found.bytes = is_head(p) ? NULL : str_text(body);
    p->done(p->cls, why ? NULL : &p->found, why);
    if (p->found.manifest)
        manifest_fini(&p->manifest);
    free(p->repository);
    free(p->reference);
    free(p);
}

void pull_manifest(struct fetcher *f, const struct manifest_request *q,
                   void (*done)(void *cls, const struct pulled *p, const struct error *why),
                   void *cls)
{
    struct manifest_pull *p = alloc_zero(sizeof *p);
    autofree char *path = alloc_format("/v2/%s/%s/%s", q->repository,
                                       q->is_blob ? "blobs" : "manifests", q->reference);
    p->request = *q;
    p->repository = alloc_string(q->repository);
    p->reference = alloc_string(q->reference);
    p->done = done;
    p->cls = cls;
    bool by_digest =
        strchr(q->reference, ':') != NULL && digest_parse(slice_of(q->reference), &p->asked) == 1;
    const struct race_request r = {.upstream = q->upstream,
                                   .order = q->needs_origin ? RACE_ORIGIN_ONLY
                                            : by_digest || q->upstream->resolves_anywhere
                                                ? RACE_ANY
                                                : RACE_ORIGIN_FIRST,
                                   .can_do_without = q->can_do_without,
                                   .repository = q->repository,
                                   .path = path,
                                   .accept = q->is_blob ? "*/*" : manifest_accept,
                                   .digest = by_digest ? q->reference : NULL,
                                   .is_head = q->is_head,
                                   .body_max = MANIFEST_MAX_BYTES,
                                   .noun = "manifest",
                                   .judge = manifest_judge,
                                   .on_done = manifest_answered,
                                   .cls = p};
    race_start(f, &r);
}
