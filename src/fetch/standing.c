/* SPDX-License-Identifier: Apache-2.0
 * Translates errors into what health.h remembers. A registry with one source keeps its health too,
 * but there is nothing to choose: nothing is logged of it here. */
#include "fetch/standing.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "fetch/exchange.h"
#include "fetch/fetcher.h"
#include "upstream/account.h"
#include "upstream/upstream.h"

/* --- health and its log lines ----------------------------------------------------------------- */

static bool is_pool(const struct upstream *u)
{
    return u->source_count > 1;
}

static void note_change(const struct upstream *u, const struct source *s, bool was_out,
                        const char *why)
{
    const struct health *h = &s->health;
    if (!is_pool(u) || h->is_out == was_out)
        return;
    if (h->is_out) {
        log_event(LOG_LEVEL_WARNING, "a source is left out", LOG_S("registry", u->registry),
                  LOG_S("upstream", s->url), LOG_S("reason", health_failure_name(h->why)),
                  LOG_I("for_ms", h->out_until_ms - clock_mono_ms()), LOG_S("error", why), LOG_END);
    } else {
        log_event(LOG_LEVEL_INFO, "a source is back", LOG_S("registry", u->registry),
                  LOG_S("upstream", s->url), LOG_END);
    }
}

void standing_fail(const struct upstream *u, struct source *s, enum health_failure how,
                   const char *why)
{
    bool was_out = s->health.is_out;
    count_add(&s->account->failures[how], 1);
    health_failed(&s->health, how, clock_mono_ms());
    note_change(u, s, was_out, why);
}

static void note_limit(const struct upstream *u, struct source *s, const struct error *why)
{
    int64_t now_ms = clock_mono_ms();
    bool was_limited = now_ms < s->health.limited_until_ms;
    count_add(&s->account->limits, 1);
    health_limited(&s->health, why->retry_after_s, now_ms);
    if (is_pool(u) && !was_limited)
        log_event(LOG_LEVEL_WARNING, "a source limits us", LOG_S("registry", u->registry),
                  LOG_S("upstream", s->url), LOG_I("for_ms", s->health.limited_until_ms - now_ms),
                  LOG_END);
}

void standing_blame(const struct upstream *u, struct source *s, bool is_sole,
                    const char *repository, const char *digest)
{
    bool was_out = s->health.is_out;
    count_add(&s->account->failures[HEALTH_WRONG], 1);
    s->has_whole_proof = s->has_part_proof = false;
    if (is_pool(u) && (is_sole || s != upstream_origin(u)))
        log_event(LOG_LEVEL_ERROR, "a source sent wrong bytes and is set aside",
                  LOG_S("registry", u->registry), LOG_S("upstream", s->url),
                  LOG_S("repository", repository), LOG_S("digest", digest), LOG_END);
    if (!is_sole && s == upstream_origin(u))
        return; /* far more likely it was the mirror's part */
    health_failed(&s->health, HEALTH_WRONG, clock_mono_ms());
    note_change(u, s, was_out, "wrong bytes");
}

static bool is_missing(const struct error *why)
{
    return why->kind == ERR_NOT_FOUND || why->kind == ERR_NAME_UNKNOWN;
}

/* What its failure says about a source. Our own disk and our own stopping say nothing. */
void standing_judge(const struct upstream *u, struct source *s, const char *repository,
                    const char *digest, const struct error *why)
{
    bool lacks_method = why->upstream_status == 405 || why->upstream_status == 501;
    switch (why->kind) {
    case ERR_NOT_FOUND:
    case ERR_RANGE_INVALID:
        if (digest)
            health_missed(&s->health, repository, digest, clock_mono_ms());
        break;
    case ERR_NAME_UNKNOWN:
        health_missed(&s->health, repository, NULL, clock_mono_ms());
        break;
    case ERR_LIMITED:
        note_limit(u, s, why);
        break;
    case ERR_TIMEOUT:
        standing_fail(u, s, HEALTH_TIMEOUT, why->text);
        break;
    case ERR_CORRUPT:
        standing_blame(u, s, true, repository, digest ? digest : "");
        break;
    case ERR_UPSTREAM:
    case ERR_CREDENTIALS:
        if (!lacks_method)
            standing_fail(u, s, HEALTH_ERROR, why->text);
        break;
    default:
        break;
    }
}

void standing_sign(struct source *s, const struct head *head)
{
    struct health *h = &s->health;
    health_sign(h, head->connect_ms, head->first_byte_ms, clock_mono_ms());
    histogram_observe(&s->account->first_byte, head->first_byte_ms * 1000);
    if (head->rate_limit >= 0)
        h->rate_limit = head->rate_limit;
    if (head->rate_remaining >= 0)
        h->rate_remaining = head->rate_remaining;
}

void standing_succeed(const struct upstream *u, struct source *s, const char *repository,
                      uint64_t bytes, int64_t ms)
{
    bool was_out = s->health.is_out;
    health_succeeded(&s->health, bytes, ms, clock_mono_ms());
    health_had(&s->health, repository);
    note_change(u, s, was_out, "");
}

bool standing_has_alternative(const struct upstream *u, const char *repository, const char *digest,
                              const struct source *than, uint32_t avoid)
{
    const struct health *all[SOURCES_MAX];
    size_t order[SOURCES_MAX];
    int64_t now_ms = clock_mono_ms();
    for (size_t i = 0; i < u->source_count; i++)
        all[i] = &u->sources[i].health;
    size_t count = health_order(all, u->source_count, repository, digest, now_ms, order);
    for (size_t i = 0; i < count; i++)
        if (&u->sources[order[i]] != than && !(avoid & (1u << order[i])) &&
            health_is_usable(all[order[i]], now_ms))
            return true;
    return false;
}

/* --- probes ----------------------------------------------------------------------------------- */

/* One HEAD for which nobody waits: does that source answer again? */
struct probe {
    const struct upstream *upstream;
    struct source *source;
};

static void probe_signed(void *cls, const struct head *head)
{
    standing_sign(((struct probe *)cls)->source, head);
}

static void probe_done(void *cls, const struct head *head, const struct error *why)
{
    struct probe *p = cls;
    struct health *h = &p->source->health;
    bool was_out = h->is_out;
    enum health_failure result = HEALTH_OK;
    (void)head;
    if (why && why->kind == ERR_LIMITED)
        note_limit(p->upstream, p->source, why);
    else if (why && why->kind == ERR_TIMEOUT)
        result = HEALTH_TIMEOUT;
    else if (why && !is_missing(why) && why->upstream_status != 405 && why->upstream_status != 501)
        result = HEALTH_ERROR;
    health_probe_end(h, result, clock_mono_ms());
    note_change(p->upstream, p->source, was_out, "");
    free(p);
}

void standing_probe(struct fetcher *f, const struct upstream *u, const char *repository,
                    const char *path, const char *accept)
{
    for (size_t i = 0; is_pool(u) && i < u->source_count; i++) {
        struct source *s = &u->sources[i];
        struct error e;
        if (!health_wants_probe(&s->health, clock_mono_ms()))
            continue;
        struct probe *p = alloc_zero(sizeof *p);
        *p = (struct probe){u, s};
        const struct exchange_request x = {.source = s,
                                           .repository = repository,
                                           .path = path,
                                           .accept = accept,
                                           .is_head = true,
                                           .on_sign = probe_signed,
                                           .on_done = probe_done,
                                           .cls = p};
        health_probe_begin(&s->health);
        if (!exchange_start(f, &x, &e)) {
            health_probe_end(&s->health, HEALTH_ERROR, clock_mono_ms());
            free(p);
        }
    }
}
