/* SPDX-License-Identifier: Apache-2.0
 * GET /api/status: the running mirror as JSON, for `tranship status` and the dashboard. Numbers are
 * bytes, milliseconds, or what their key says; null where something is not known. */
#include "base/clock.h"
#include "base/error.h"
#include "base/json_write.h"
#include "base/metrics.h"
#include "base/str.h"
#include "cache/index.h"
#include "fetch/survey.h"
#include "serve/reply.h"
#include "serve/request.h"
#include "serve/tally.h"

enum { FLOWS_SHOWN = 256 };

static void add_about(const struct about *a, struct str *out)
{
    char started[24];
    json_write_text(out, "version", PACKAGE_VERSION);
    json_write_text(out, "mode", a->mode);
    json_write_text(out, "data", a->data);
    json_write_text(out, "started_at", clock_format(a->started_at, started));
    json_write_number(out, "uptime_s", (clock_mono_ms() - a->started_ms) / 1000);
    json_write_open(out, "listen", '[');
    for (char *const *address = a->addresses; *address; address++)
        json_write_text(out, NULL, *address);
    json_write_close(out, ']');
}

static int add_held(struct index_reader *r, struct str *out, struct error *e)
{
    struct index_tally held;
    if (index_tally(r, &held, e) < 0)
        return -1;
    json_write_open(out, "held", '{');
    json_write_number(out, "blobs", (int64_t)held.blobs);
    json_write_number(out, "bytes", (int64_t)held.bytes);
    json_write_number(out, "disk_bytes",
                      metric_get(blob_bytes) + metric_get(partial_bytes) + metric_get(index_bytes));
    if (metric_get(budget_bytes) > 0)
        json_write_number(out, "budget_bytes", metric_get(budget_bytes));
    else
        json_write_text(out, "budget_bytes", NULL);
    json_write_close(out, '}');
    return 0;
}

static void add_traffic(const struct tallies *all, struct str *out)
{
    struct tally_sum sum;
    tallies_sum(all, &sum);
    int64_t hits = sum.of_cache[CACHE_HIT],
            misses = sum.of_cache[CACHE_STORED] + sum.of_cache[CACHE_FORWARDED],
            asked = sum.requests - sum.of_cache[CACHE_NONE];
    json_write_open(out, "requests", '{');
    json_write_number(out, "total", sum.requests);
    json_write_number(out, "errors", sum.errors);
    json_write_number(out, "hits", hits);
    json_write_number(out, "misses", misses);
    json_write_number(out, "collapsed", sum.of_cache[CACHE_COLLAPSED]);
    json_write_number(out, "stale", sum.of_cache[CACHE_STALE]);
    if (asked > 0)
        json_write_ratio(out, "hit_ratio", (double)hits / (double)asked);
    else
        json_write_text(out, "hit_ratio", NULL);
    json_write_close(out, '}');
    json_write_open(out, "bytes", '{');
    json_write_number(out, "served", sum.served_bytes);
    json_write_number(out, "fetched", metric_get(upstream_bytes_total));
    json_write_number(out, "saved", sum.saved_bytes);
    json_write_close(out, '}');
}

static void add_load(struct str *out)
{
    json_write_number(out, "connections", metric_get(connections));
    json_write_open(out, "queues", '{');
    json_write_number(out, "fetch", metric_get(fetch_queue));
    json_write_number(out, "ledger", metric_get(ledger_queue));
    json_write_number(out, "transfers", metric_get(transfers));
    json_write_close(out, '}');
}

static void add_source(const struct survey_source *s, struct str *out)
{
    json_write_open(out, NULL, '{');
    json_write_text(out, "url", s->url);
    json_write_text(out, "role", s->is_origin ? "origin" : "mirror");
    json_write_text(out, "state", survey_state_name(s->state));
    json_write_text(out, "why", s->why[0] ? s->why : NULL);
    json_write_known(out, "out_ms", s->out_ms, s->state == SURVEY_OUT);
    json_write_known(out, "limited_ms", s->limited_ms, s->limited_ms > 0);
    json_write_known(out, "connect_ms", s->connect_ms, s->connect_ms > 0);
    json_write_known(out, "first_byte_ms", s->first_byte_ms, s->first_byte_ms > 0);
    json_write_known(out, "bytes_per_s", s->bytes_per_s, s->bytes_per_s > 0);
    json_write_known(out, "answered_ago_ms", s->answered_ago_ms, s->answered_ago_ms >= 0);
    json_write_number(out, "failures", s->failures);
    json_write_number(out, "under_way", s->under_way);
    json_write_known(out, "rate_limit", s->rate_limit, s->rate_limit >= 0);
    json_write_known(out, "rate_remaining", s->rate_remaining, s->rate_remaining >= 0);
    json_write_close(out, '}');
}

static void add_registries(const struct survey *s, struct str *out)
{
    json_write_open(out, "registries", '[');
    for (size_t i = 0; i < s->count; i++) {
        const struct survey_registry *r = &s->registries[i];
        json_write_open(out, NULL, '{');
        json_write_text(out, "registry", r->name);
        json_write_open(out, "sources", '[');
        for (size_t j = 0; j < r->source_count; j++)
            add_source(&r->sources[j], out);
        json_write_close(out, ']');
        json_write_close(out, '}');
    }
    json_write_close(out, ']');
}

static void add_flow(struct flow *f, const char *owner, void *cls)
{
    struct str *out = cls;
    char digest[DIGEST_TEXT_MAX];
    uint64_t size = 0;
    bool has_size = flow_size(f, &size);
    json_write_open(out, NULL, '{');
    json_write_text(out, "repository", owner);
    json_write_text(out, "digest", digest_print(flow_digest(f), digest));
    json_write_known(out, "size", (int64_t)size, has_size);
    json_write_number(out, "present", (int64_t)flow_present(f));
    json_write_number(out, "bytes_per_s", (int64_t)flow_rate(f));
    json_write_close(out, '}');
}

enum MHD_Result status_handle(struct request *r)
{
    struct error e;
    const struct survey_request all = {.upstreams = r->desk->upstreams};
    if (!r->answer)
        r->answer = mirror_survey(r->desk->mirror, &all);
    if (request_await_answer(r))
        return MHD_YES;
    if (r->answer->kind == ANSWER_ERROR)
        return reply_error(r, &r->answer->error);
    struct str out = {0};
    json_write_open(&out, NULL, '{');
    add_about(r->desk->about, &out);
    if (add_held(r->desk->reader, &out, &e) < 0) {
        str_fini(&out);
        return reply_error(r, &e);
    }
    add_traffic(r->desk->tallies, &out);
    add_load(&out);
    add_registries(r->answer->survey, &out);
    json_write_open(&out, "flows", '[');
    mirror_each_flow(r->desk->mirror, FLOWS_SHOWN, add_flow, &out);
    json_write_close(&out, ']');
    json_write_close(&out, '}');
    return reply_text(r, 200, "application/json", &out);
}
