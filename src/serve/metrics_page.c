/* SPDX-License-Identifier: Apache-2.0
 * GET /metrics: the process-wide numbers, what the workers answered, what is remembered of each
 * source, the process itself. */
#include "base/metrics.h"
#include "base/process.h"
#include "base/str.h"
#include "fetch/survey.h"
#include "serve/reply.h"
#include "serve/request.h"
#include "serve/tally.h"
#include "upstream/account.h"

static void print_counts(struct str *out, enum family f, size_t where)
{
    metrics_print_head(out, f);
    for (const struct account *a = NULL; (a = account_next(a));) {
        const _Atomic int64_t *count = (const void *)((const char *)a + where);
        metrics_print_sample(out, f, (const char *[]){a->registry, a->url, a->role},
                             count_get(count), 0);
    }
}

/* What was counted of each source since the start, those of earlier configurations included. */
static void print_accounts(struct str *out)
{
    print_counts(out, FAMILY_source_requests_total, offsetof(struct account, requests));
    print_counts(out, FAMILY_source_bytes_total, offsetof(struct account, bytes));
    print_counts(out, FAMILY_source_limits_total, offsetof(struct account, limits));
    metrics_print_head(out, FAMILY_source_failures_total);
    for (const struct account *a = NULL; (a = account_next(a));)
        for (unsigned i = HEALTH_OK + 1; i < HEALTH_FAILURES; i++)
            metrics_print_sample(
                out, FAMILY_source_failures_total,
                (const char *[]){a->registry, a->url, a->role, health_failure_name(i)},
                count_get(&a->failures[i]), 0);
    metrics_print_head(out, FAMILY_source_first_byte_seconds);
    for (const struct account *a = NULL; (a = account_next(a));)
        if (histogram_count(&a->first_byte) > 0)
            metrics_print_histogram(out, FAMILY_source_first_byte_seconds,
                                    (const char *[]){a->registry, a->url, a->role}, &a->first_byte);
}

/* What a source's gauge shows; false: it is not known. */
static bool show(const struct survey_source *s, enum family gauge, int64_t *value)
{
    switch (gauge) {
    case FAMILY_source_out:
        *value = s->state == SURVEY_OUT;
        return true;
    case FAMILY_source_limited:
        *value = s->limited_ms > 0;
        return true;
    case FAMILY_source_requests_under_way:
        *value = s->under_way;
        return true;
    case FAMILY_source_connect_seconds:
        *value = s->connect_ms;
        return s->answered_ago_ms >= 0;
    case FAMILY_source_latency_seconds:
        *value = s->first_byte_ms;
        return s->answered_ago_ms >= 0;
    case FAMILY_source_bytes_per_second:
        *value = s->bytes_per_s;
        return s->bytes_per_s > 0;
    case FAMILY_source_rate_limit:
        *value = s->rate_limit;
        return s->rate_limit >= 0;
    default:
        *value = s->rate_remaining;
        return s->rate_remaining >= 0;
    }
}

static void print_gauge(const struct survey *all, struct str *out, enum family gauge,
                        unsigned decimals)
{
    metrics_print_head(out, gauge);
    for (size_t i = 0; i < all->count; i++)
        for (size_t k = 0; k < all->registries[i].source_count; k++) {
            const struct survey_source *s = &all->registries[i].sources[k];
            int64_t value;
            if (show(s, gauge, &value))
                metrics_print_sample(
                    out, gauge,
                    (const char *[]){all->registries[i].name, s->url, account_role(s->is_origin)},
                    value, decimals);
        }
}

/* How the sources of the present configuration stand. */
static void print_survey(const struct survey *all, struct str *out)
{
    int64_t count = 0;
    print_gauge(all, out, FAMILY_source_out, 0);
    print_gauge(all, out, FAMILY_source_limited, 0);
    print_gauge(all, out, FAMILY_source_connect_seconds, 3);
    print_gauge(all, out, FAMILY_source_latency_seconds, 3);
    print_gauge(all, out, FAMILY_source_bytes_per_second, 0);
    print_gauge(all, out, FAMILY_source_requests_under_way, 0);
    print_gauge(all, out, FAMILY_source_rate_limit, 0);
    print_gauge(all, out, FAMILY_source_rate_remaining, 0);
    for (size_t i = 0; i < all->count; i++)
        for (size_t k = 0; k < all->registries[i].source_count; k++)
            count += all->registries[i].sources[k].state == SURVEY_OUT;
    metrics_print_single(out, FAMILY_sources_out, count, 0);
}

/* If the fetch thread is too busy to tell of its sources, the rest is told without. */
enum MHD_Result metrics_handle(struct request *r)
{
    struct str body = {0};
    const struct survey_request all = {.upstreams = r->desk->upstreams};
    if (!r->answer)
        r->answer = mirror_survey(r->desk->mirror, &all);
    if (request_await_answer(r))
        return MHD_YES;
    metrics_print(&body);
    tallies_print(r->desk->tallies, &body);
    print_accounts(&body);
    if (r->answer->kind == ANSWER_SURVEY)
        print_survey(r->answer->survey, &body);
    metrics_print_head(&body, FAMILY_build_info);
    metrics_print_sample(&body, FAMILY_build_info, (const char *[]){PACKAGE_VERSION}, 1, 0);
    process_print(&body);
    return reply_text(r, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}
