/* SPDX-License-Identifier: Apache-2.0
 * metrics: every row of the table is on the page once, in the form that Prometheus reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/metrics.h"
#include "base/str.h"

static size_t occurrences(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

static void a_counter_is_printed_with_help_type_and_value(void **state)
{
    (void)state;
    autostr struct str page = {0};
    metric_add(requests_total, 41);
    metric_add(requests_total, 1);
    metrics_print(&page);
    assert_non_null(strstr(str_text(&page), "# HELP tranship_requests_total Requests answered\n"
                                            "# TYPE tranship_requests_total counter\n"
                                            "tranship_requests_total 42\n"));
    metric_add(requests_total, -42);
}

static void a_gauge_goes_down_too_and_says_that_it_is_one(void **state)
{
    (void)state;
    autostr struct str page = {0};
    metric_add(flows, 3);
    metric_add(flows, -5);
    assert_int_equal(metric_get(flows), -2);
    metrics_print(&page);
    assert_non_null(strstr(str_text(&page), "# TYPE tranship_flows gauge\ntranship_flows -2\n"));
    metric_add(flows, 2);
}

static void every_row_of_the_table_is_there_once(void **state)
{
    (void)state;
    autostr struct str page = {0};
    metrics_print(&page);
    const char *text = str_text(&page);
#define COUNTER(name, sentence)                                                                    \
    assert_int_equal(occurrences(text, "# TYPE tranship_" #name " counter\n"), 1);                 \
    assert_int_equal(occurrences(text, "# HELP tranship_" #name " " sentence "\n"), 1);            \
    assert_int_equal(occurrences(text, "\ntranship_" #name " 0\n"), 1);
#define GAUGE(name, sentence)                                                                      \
    assert_int_equal(occurrences(text, "# TYPE tranship_" #name " gauge\n"), 1);                   \
    assert_int_equal(occurrences(text, "\ntranship_" #name " 0\n"), 1);
#include "base/metrics.def"
#undef COUNTER
#undef GAUGE
    assert_int_equal(occurrences(text, "\n"), 3 * METRIC_COUNT);
    assert_true(text[page.length - 1] == '\n');
}

static void printing_appends(void **state)
{
    (void)state;
    autostr struct str page = {0};
    str_add(&page, "# first\n");
    metrics_print(&page);
    assert_memory_equal(page.text, "# first\n# HELP", 14);
}

static void *add_often(void *cls)
{
    (void)cls;
    for (int i = 0; i < 10000; i++)
        metric_add(served_bytes_total, 3);
    return NULL;
}

static void nothing_is_lost_when_threads_count_at_once(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_often, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metric_get(served_bytes_total), 120000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_is_printed_with_help_type_and_value),
        cmocka_unit_test(a_gauge_goes_down_too_and_says_that_it_is_one),
        cmocka_unit_test(every_row_of_the_table_is_there_once),
        cmocka_unit_test(printing_appends),
        cmocka_unit_test(nothing_is_lost_when_threads_count_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
