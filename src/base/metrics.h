/* SPDX-License-Identifier: Apache-2.0
 * Counters and gauges: process-wide atomics declared in metrics.def. Any thread, no locks. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

struct str;

enum metric {
#define COUNTER(name, sentence) METRIC_##name,
#define GAUGE(name, sentence) METRIC_##name,
#include "base/metrics.def"
#undef COUNTER
#undef GAUGE
    METRIC_COUNT
};

extern _Atomic int64_t metrics_values[METRIC_COUNT];

/* metric_add(requests_total, 1); metric_get(flows) */
#define metric_add(name, n)                                                                        \
    atomic_fetch_add_explicit(&metrics_values[METRIC_##name], (n), memory_order_relaxed)
#define metric_set(name, n)                                                                        \
    atomic_store_explicit(&metrics_values[METRIC_##name], (n), memory_order_relaxed)
#define metric_get(name) atomic_load_explicit(&metrics_values[METRIC_##name], memory_order_relaxed)

/* Appends the Prometheus text format (version 0.0.4). */
void metrics_print(struct str *out);

#endif
