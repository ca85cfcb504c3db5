/* SPDX-License-Identifier: Apache-2.0
 * What is counted, declared in metrics.def: the process-wide numbers live here, as atomics; those
 * of families are kept by whoever counts and printed with what is below. Any thread, no locks. The
 * text is Prometheus' exposition format, version 0.0.4. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

struct str;

enum metric {
#define COUNTER(name, sentence) METRIC_##name,
#define GAUGE(name, sentence) METRIC_##name,
#include "base/metrics.def"
    METRIC_COUNT
};

enum family {
#define FAMILY(name, type, labels, sentence) FAMILY_##name,
#define PROCESS(name, type, labels, sentence) FAMILY_process_##name,
#include "base/metrics.def"
    FAMILY_COUNT
};

extern _Atomic int64_t metrics_values[METRIC_COUNT];

/* metric_add(flows, 1); metric_get(flows) */
#define metric_add(name, n) count_add(&metrics_values[METRIC_##name], (n))
#define metric_set(name, n)                                                                        \
    atomic_store_explicit(&metrics_values[METRIC_##name], (n), memory_order_relaxed)
#define metric_get(name) count_get(&metrics_values[METRIC_##name])

/* One number of a family. */
#define count_add(at, n) atomic_fetch_add_explicit((at), (n), memory_order_relaxed)
#define count_get(at) atomic_load_explicit((at), memory_order_relaxed)

/* How often something took how long. */
enum { HISTOGRAM_BUCKETS = 9 }; /* 1 ms to 60 s */
struct histogram {
    _Atomic int64_t counts[HISTOGRAM_BUCKETS + 1]; /* each its own bucket's; the last: longer */
    _Atomic int64_t sum_us;
};
void histogram_observe(struct histogram *h, int64_t us);
int64_t histogram_count(const struct histogram *h);
/* Adds what another has seen so far, for a sum over threads. */
void histogram_merge(struct histogram *h, const struct histogram *other);

/* Appends all process-wide numbers. */
void metrics_print(struct str *out);

/* A family: first its head, then its samples, nothing between. values: one a label, in the order of
 * the row; NULL where it has none. What is printed is value / 10^decimals. */
void metrics_print_head(struct str *out, enum family f);
void metrics_print_sample(struct str *out, enum family f, const char *const *values, int64_t value,
                          unsigned decimals);
void metrics_print_histogram(struct str *out, enum family f, const char *const *values,
                             const struct histogram *h);
/* Head and sample of a family without labels. */
void metrics_print_single(struct str *out, enum family f, int64_t value, unsigned decimals);

#endif
