/* SPDX-License-Identifier: Apache-2.0
 * Labels come from closed sets, so a number's place is known without a search: a dense array, of
 * which only the pages of registries that are asked for are ever touched. */
#include "serve/tally.h"

#include <string.h>

#include "base/alloc.h"
#include "base/metrics.h"
#include "base/str.h"
#include "upstream/account.h"

enum { CACHES = CACHE_NONE + 1, CLASSES = 5 /* of a status: none, 2xx, 3xx, 4xx, 5xx */ };

struct cell {
    _Atomic int64_t requests[CLASSES];
    _Atomic int64_t bytes;
};

struct tally {
    _Atomic int64_t busy;
    struct histogram first_byte[ROUTE_KINDS], duration[ROUTE_KINDS];
    struct cell cells[ACCOUNT_REGISTRIES_MAX][ROUTE_KINDS][CACHES];
};

struct tallies {
    unsigned count;
    struct tally *each[];
};

struct tallies *tallies_new(unsigned count)
{
    struct tallies *all = alloc_zero(sizeof *all + count * sizeof *all->each);
    all->count = count;
    for (unsigned i = 0; i < count; i++)
        all->each[i] = alloc_zero(sizeof(struct tally)); /* large: pages of their own, untouched */
    return all;
}

void tallies_free(struct tallies *all)
{
    for (unsigned i = 0; all && i < all->count; i++)
        free(all->each[i]);
    free(all);
}

struct tally *tallies_at(struct tallies *all, unsigned i)
{
    return all->each[i];
}

void tally_begin(struct tally *t)
{
    count_add(&t->busy, 1);
}

void tally_end(struct tally *t, const struct tally_entry *e)
{
    struct cell *c = &t->cells[e->registry][e->route][e->cache];
    unsigned class = e->status / 100;
    count_add(&c->requests[class < 2 ? 0 : class - 1], 1);
    if (e->is_whole && e->body_bytes > 0)
        count_add(&c->bytes, (int64_t)e->body_bytes);
    if (e->status != 0) {
        histogram_observe(&t->first_byte[e->route], e->first_byte_us);
        histogram_observe(&t->duration[e->route], e->duration_us);
    }
    count_add(&t->busy, -1); /* last: whoever sees nobody busy sees all counted */
}

unsigned tally_busy(const struct tally *t)
{
    return (unsigned)count_get(&t->busy);
}

/* --- sums ------------------------------------------------------------------------------------- */

/* One cell over all workers. */
static struct cell sum_cell(const struct tallies *all, unsigned registry, unsigned route,
                            unsigned cache)
{
    struct cell sum = {0};
    for (unsigned i = 0; i < all->count; i++) {
        const struct cell *c = &all->each[i]->cells[registry][route][cache];
        for (unsigned k = 0; k < CLASSES; k++)
            count_add(&sum.requests[k], count_get(&c->requests[k]));
        count_add(&sum.bytes, count_get(&c->bytes));
    }
    return sum;
}

/* Had the bytes of such an answer not to be fetched for it? */
static bool is_saved(enum cache_outcome cache)
{
    return cache == CACHE_HIT || cache == CACHE_COLLAPSED || cache == CACHE_REVALIDATED ||
           cache == CACHE_STALE;
}

static void each_cell(const struct tallies *all,
                      void (*visit)(void *cls, const char *const *labels, enum cache_outcome cache,
                                    const struct cell *c),
                      void *cls)
{
    const char *registry;
    for (unsigned i = 0; (registry = account_registry_name(i)); i++)
        for (unsigned k = 0; k < ROUTE_KINDS; k++)
            for (unsigned n = 0; n < CACHES; n++) {
                const char *labels[] = {route_kind_name(k), registry, answer_cache_name(n)};
                const struct cell sum = sum_cell(all, i, k, n);
                visit(cls, labels, n, &sum);
            }
}

static void add_up(void *cls, const char *const *labels, enum cache_outcome cache,
                   const struct cell *c)
{
    struct tally_sum *s = cls;
    int64_t requests = 0;
    (void)labels;
    for (unsigned i = 0; i < CLASSES; i++)
        requests += c->requests[i];
    s->requests += requests;
    s->errors += c->requests[3] + c->requests[4];
    s->of_cache[cache] += requests;
    s->served_bytes += c->bytes;
    s->saved_bytes += is_saved(cache) ? c->bytes : 0;
}

void tallies_sum(const struct tallies *all, struct tally_sum *out)
{
    memset(out, 0, sizeof *out);
    each_cell(all, add_up, out);
}

static void print_requests(void *cls, const char *const *labels, enum cache_outcome cache,
                           const struct cell *c)
{
    static const char *const classes[CLASSES] = {"none", "2xx", "3xx", "4xx", "5xx"};
    (void)cache;
    for (unsigned i = 0; i < CLASSES; i++) {
        const char *values[] = {labels[0], labels[1], labels[2], classes[i]};
        if (c->requests[i] > 0)
            metrics_print_sample(cls, FAMILY_requests_total, values, c->requests[i], 0);
    }
}

static void print_bytes(void *cls, const char *const *labels, enum cache_outcome cache,
                        const struct cell *c)
{
    (void)cache;
    if (c->bytes > 0)
        metrics_print_sample(cls, FAMILY_served_bytes_total, labels, c->bytes, 0);
}

static void print_times(const struct tallies *all, struct str *out, enum family f, size_t where)
{
    metrics_print_head(out, f);
    for (unsigned k = 0; k < ROUTE_KINDS; k++) {
        const char *route = route_kind_name(k);
        struct histogram sum = {0};
        for (unsigned i = 0; i < all->count; i++)
            histogram_merge(&sum,
                            (const struct histogram *)((const char *)all->each[i] + where) + k);
        if (histogram_count(&sum) > 0)
            metrics_print_histogram(out, f, &route, &sum);
    }
}

void tallies_print(const struct tallies *all, struct str *out)
{
    struct tally_sum sum;
    int64_t busy = 0;
    for (unsigned i = 0; i < all->count; i++)
        busy += count_get(&all->each[i]->busy);
    tallies_sum(all, &sum);
    metrics_print_head(out, FAMILY_requests_total);
    each_cell(all, print_requests, out);
    metrics_print_single(out, FAMILY_requests_under_way, busy, 0);
    print_times(all, out, FAMILY_request_first_byte_seconds, offsetof(struct tally, first_byte));
    print_times(all, out, FAMILY_request_duration_seconds, offsetof(struct tally, duration));
    metrics_print_head(out, FAMILY_served_bytes_total);
    each_cell(all, print_bytes, out);
    metrics_print_single(out, FAMILY_saved_bytes_total, sum.saved_bytes, 0);
}
