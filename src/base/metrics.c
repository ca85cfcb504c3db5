/* SPDX-License-Identifier: Apache-2.0
 * The counters' memory and their page. Knows no metric by name: all rows come from metrics.def. */
#include "base/metrics.h"

#include <inttypes.h>

#include "base/str.h"

_Atomic int64_t metrics_values[METRIC_COUNT];

struct row {
    const char *name;
    const char *type;
    const char *sentence;
};

static const struct row rows[METRIC_COUNT] = {
#define COUNTER(name, sentence) {"tranship_" #name, "counter", sentence},
#define GAUGE(name, sentence) {"tranship_" #name, "gauge", sentence},
#include "base/metrics.def"
#undef COUNTER
#undef GAUGE
};

void metrics_print(struct str *out)
{
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct row *r = &rows[i];
        int64_t value = atomic_load_explicit(&metrics_values[i], memory_order_relaxed);
        str_format(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRId64 "\n", r->name, r->sentence,
                   r->name, r->type, r->name, value);
    }
}
