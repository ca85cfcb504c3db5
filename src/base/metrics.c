/* SPDX-License-Identifier: Apache-2.0
 * The process-wide numbers' memory, and how all are written. Knows no metric by name: every row
 * comes from metrics.def. */
#include "base/metrics.h"

#include <assert.h>
#include <inttypes.h>

#include "base/str.h"

_Atomic int64_t metrics_values[METRIC_COUNT];

struct row {
    const char *name, *type, *labels, *sentence;
};

static const struct row rows[METRIC_COUNT] = {
#define COUNTER(name, sentence) {"tranship_" #name, "counter", "", sentence},
#define GAUGE(name, sentence) {"tranship_" #name, "gauge", "", sentence},
#include "base/metrics.def"
};

static const struct row families[FAMILY_COUNT] = {
#define FAMILY(name, type, labels, sentence) {"tranship_" #name, type, labels, sentence},
#define PROCESS(name, type, labels, sentence) {"process_" #name, type, labels, sentence},
#include "base/metrics.def"
};

/* Few, since each is a series for every route and source: what feels like now, like a click, like
 * waiting, and the time-outs of clients. */
static const struct {
    int64_t us;
    const char *text; /* in seconds */
} buckets[HISTOGRAM_BUCKETS] = {
    {1000, "0.001"}, {5000, "0.005"}, {25000, "0.025"}, {100000, "0.1"},  {300000, "0.3"},
    {1000000, "1"},  {5000000, "5"},  {20000000, "20"}, {60000000, "60"},
};

void histogram_observe(struct histogram *h, int64_t us)
{
    size_t i = 0;
    while (i < HISTOGRAM_BUCKETS && us > buckets[i].us)
        i++;
    count_add(&h->counts[i], 1);
    count_add(&h->sum_us, us);
}

int64_t histogram_count(const struct histogram *h)
{
    int64_t count = 0;
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
        count += count_get(&h->counts[i]);
    return count;
}

void histogram_merge(struct histogram *h, const struct histogram *other)
{
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
        count_add(&h->counts[i], count_get(&other->counts[i]));
    count_add(&h->sum_us, count_get(&other->sum_us));
}

/* --- the text --------------------------------------------------------------------------------- */

static void print_head(struct str *out, const struct row *r)
{
    str_format(out, "# HELP %s %s\n# TYPE %s %s\n", r->name, r->sentence, r->name, r->type);
}

void metrics_print_head(struct str *out, enum family f)
{
    print_head(out, &families[f]);
}

static void print_escaped(struct str *out, const char *value)
{
    for (; *value; value++) {
        if (*value == '\n')
            str_add(out, "\\n");
        else if (*value == '"' || *value == '\\')
            str_format(out, "\\%c", *value);
        else
            str_add_char(out, *value);
    }
}

/* The labels with their values, and one more ("le"; NULL: none). */
static void print_labels(struct str *out, const char *labels, const char *const *values,
                         const char *le)
{
    struct slice rest = slice_of(labels), name;
    const char *before = "{";
    for (size_t i = 0; rest.length > 0; i++) {
        assert(values);
        name = rest;
        if (!slice_cut(rest, ' ', &name, &rest))
            rest.length = 0;
        str_format(out, "%s%.*s=\"", before, (int)name.length, name.at);
        print_escaped(out, values[i]);
        str_add_char(out, '"');
        before = ",";
    }
    if (le)
        str_format(out, "%sle=\"%s\"", before, le);
    if (le || labels[0])
        str_add_char(out, '}');
}

static void print_number(struct str *out, int64_t value, unsigned decimals)
{
    int64_t unit = 1;
    for (unsigned i = 0; i < decimals; i++)
        unit *= 10;
    const char *sign = value < 0 ? "-" : "";
    int64_t magnitude = value < 0 ? -value : value;
    str_format(out, " %s%" PRId64, sign, magnitude / unit);
    if (decimals > 0)
        str_format(out, ".%0*" PRId64, (int)decimals, magnitude % unit);
    str_add_char(out, '\n');
}

void metrics_print_sample(struct str *out, enum family f, const char *const *values, int64_t value,
                          unsigned decimals)
{
    str_add(out, families[f].name);
    print_labels(out, families[f].labels, values, NULL);
    print_number(out, value, decimals);
}

void metrics_print_single(struct str *out, enum family f, int64_t value, unsigned decimals)
{
    metrics_print_head(out, f);
    metrics_print_sample(out, f, NULL, value, decimals);
}

void metrics_print_histogram(struct str *out, enum family f, const char *const *values,
                             const struct histogram *h)
{
    const struct row *r = &families[f];
    int64_t sum_us = count_get(&h->sum_us), so_far = 0;
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        so_far += count_get(&h->counts[i]);
        str_format(out, "%s_bucket", r->name);
        print_labels(out, r->labels, values, i < HISTOGRAM_BUCKETS ? buckets[i].text : "+Inf");
        print_number(out, so_far, 0);
    }
    str_format(out, "%s_sum", r->name);
    print_labels(out, r->labels, values, NULL);
    print_number(out, sum_us, 6);
    str_format(out, "%s_count", r->name);
    print_labels(out, r->labels, values, NULL);
    print_number(out, so_far, 0);
}

void metrics_print(struct str *out)
{
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        print_head(out, &rows[i]);
        str_add(out, rows[i].name);
        print_number(out, count_get(&metrics_values[i]), 0);
    }
}
