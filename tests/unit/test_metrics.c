/* SPDX-License-Identifier: Apache-2.0
 * metrics: every row of the table is printed in the form that Prometheus reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/process.h"
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
    metric_add(connections_total, 41);
    metric_add(connections_total, 1);
    metrics_print(&page);
    assert_non_null(strstr(str_text(&page),
                           "# HELP tranship_connections_total Connections accepted\n"
                           "# TYPE tranship_connections_total counter\n"
                           "tranship_connections_total 42\n"));
    metric_add(connections_total, -42);
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

static void every_process_wide_number_is_there_once(void **state)
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
    assert_int_equal(occurrences(text, "\n"), 3 * METRIC_COUNT);
    assert_true(text[page.length - 1] == '\n');
}

static void every_family_has_a_type_that_its_name_fits(void **state)
{
    (void)state;
    size_t count = 0;
#define FAMILY(name, type, labels, sentence)                                                       \
    assert_true(slice_ends(slice_of(#name), "_total") == (strcmp(type, "counter") == 0));          \
    assert_true(strstr("counter gauge histogram", type) != NULL);                                  \
    count++;
#define PROCESS(name, type, labels, sentence) FAMILY(name, type, labels, sentence)
#include "base/metrics.def"
    assert_int_equal(count, FAMILY_COUNT);
}

static void values_of_labels_are_escaped(void **state)
{
    (void)state;
    autostr struct str page = {0};
    const char *version = "a\"b\\c\nd";
    metrics_print_sample(&page, FAMILY_build_info, &version, 1, 0);
    assert_string_equal(str_text(&page), "tranship_build_info{version=\"a\\\"b\\\\c\\nd\"} 1\n");
}

static void labels_stand_in_the_order_of_the_row(void **state)
{
    (void)state;
    autostr struct str page = {0};
    const char *values[] = {"blob", "docker.io", "hit", "2xx"};
    metrics_print_head(&page, FAMILY_requests_total);
    metrics_print_sample(&page, FAMILY_requests_total, values, 7, 0);
    assert_non_null(strstr(str_text(&page), "\n# TYPE tranship_requests_total counter\n"
                                            "tranship_requests_total{route=\"blob\",registry=\""
                                            "docker.io\",cache=\"hit\",status=\"2xx\"} 7\n"));
}

static void fractions_are_exact(void **state)
{
    (void)state;
    static const struct {
        int64_t value;
        unsigned decimals;
        const char *text;
    } cases[] = {{1234567, 6, "1.234567"},
                 {7, 3, "0.007"},
                 {1000, 3, "1.000"},
                 {0, 6, "0.000000"},
                 {-1, 0, "-1"},
                 {-5, 1, "-0.5"},
                 {9007199254740993, 0, "9007199254740993"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        autostr struct str page = {0};
        metrics_print_sample(&page, FAMILY_process_threads, NULL, cases[i].value,
                             cases[i].decimals);
        autofree char *line = alloc_format("process_threads %s\n", cases[i].text);
        assert_string_equal(str_text(&page), line);
    }
}

static void the_buckets_of_a_histogram_are_cumulative_and_the_last_is_its_count(void **state)
{
    (void)state;
    static const int64_t seen_us[] = {0, 1000, 1001, 25000, 300000, 60000000, 60000001, 900000000};
    autostr struct str page = {0};
    struct histogram h = {0}, sum = {0};
    const char *route = "blob";
    for (size_t i = 0; i < sizeof seen_us / sizeof *seen_us; i++)
        histogram_observe(&h, seen_us[i]);
    histogram_merge(&sum, &h);
    histogram_observe(&sum, 500);
    assert_int_equal(histogram_count(&h), 8);
    assert_int_equal(histogram_count(&sum), 9);
    metrics_print_histogram(&page, FAMILY_request_duration_seconds, &route, &sum);
    assert_string_equal(str_text(&page),
#define LINE(what, n) "tranship_request_duration_seconds" what " " n "\n"
                        LINE("_bucket{route=\"blob\",le=\"0.001\"}",
                             "3") LINE("_bucket{route=\"blob\",le=\"0.005\"}",
                                       "4") LINE("_bucket{route=\"blob\",le=\"0.025\"}", "5")
                            LINE("_bucket{route=\"blob\",le=\"0.1\"}", "5")
                                LINE("_bucket{route=\"blob\",le=\"0.3\"}", "6")
                                    LINE("_bucket{route=\"blob\",le=\"1\"}", "6")
                                        LINE("_bucket{route=\"blob\",le=\"5\"}", "6")
                                            LINE("_bucket{route=\"blob\",le=\"20\"}", "6")
                                                LINE("_bucket{route=\"blob\",le=\"60\"}", "7")
                                                    LINE("_bucket{route=\"blob\",le=\"+Inf\"}", "9")
                                                        LINE("_sum{route=\"blob\"}", "1020.327502")
                                                            LINE("_count{route=\"blob\"}", "9"));
}

static void the_process_tells_its_memory_and_descriptors(void **state)
{
    (void)state;
    autostr struct str page = {0}, again = {0};
    process_print(&page);
    const char *text = str_text(&page);
#define PROCESS(name, type, labels, sentence)                                                      \
    assert_int_equal(occurrences(text, "\nprocess_" #name " "), 1);
#include "base/metrics.def"
    assert_null(strstr(text, "process_resident_memory_bytes 0\n"));
    long long descriptors = atoll(strstr(text, "\nprocess_open_fds ") + 18);
    int fd = dup(0);
    process_print(&again);
    close(fd);
    assert_int_equal(atoll(strstr(str_text(&again), "\nprocess_open_fds ") + 18), descriptors + 1);
    const char *started = strstr(text, "\nprocess_start_time_seconds ");
    assert_non_null(strstr(str_text(&again), started));
    int64_t age_s = clock_wall_s() - atoll(started + 28);
    assert_true(age_s >= 0 && age_s < 600);
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
        metric_add(stored_bytes_total, 3);
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
    assert_int_equal(metric_get(stored_bytes_total), 120000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_is_printed_with_help_type_and_value),
        cmocka_unit_test(a_gauge_goes_down_too_and_says_that_it_is_one),
        cmocka_unit_test(every_process_wide_number_is_there_once),
        cmocka_unit_test(every_family_has_a_type_that_its_name_fits),
        cmocka_unit_test(values_of_labels_are_escaped),
        cmocka_unit_test(labels_stand_in_the_order_of_the_row),
        cmocka_unit_test(fractions_are_exact),
        cmocka_unit_test(the_buckets_of_a_histogram_are_cumulative_and_the_last_is_its_count),
        cmocka_unit_test(the_process_tells_its_memory_and_descriptors),
        cmocka_unit_test(printing_appends),
        cmocka_unit_test(nothing_is_lost_when_threads_count_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
