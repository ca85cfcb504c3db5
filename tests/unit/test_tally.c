/* SPDX-License-Identifier: Apache-2.0
 * tally: what several workers count is summed, by route, registry, outcome and status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/str.h"
#include "serve/tally.h"
#include "upstream/account.h"

enum { WORKERS = 3 };

static struct tallies *all;

static int begin(void **state)
{
    (void)state;
    all = tallies_new(WORKERS);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tallies_free(all);
    return 0;
}

static void answered(unsigned worker, const struct tally_entry *e)
{
    tally_begin(tallies_at(all, worker));
    tally_end(tallies_at(all, worker), e);
}

static void assert_on_page(const char *line)
{
    autostr struct str page = {0};
    tallies_print(all, &page);
    if (!strstr(str_text(&page), line))
        fail_msg("no line \"%s\" in:\n%s", line, str_text(&page));
}

static void what_each_worker_counted_is_summed(void **state)
{
    (void)state;
    struct tally_entry e = {.route = ROUTE_BLOB,
                            .registry = account_registry("one.example"),
                            .cache = CACHE_HIT,
                            .status = 206,
                            .body_bytes = 1000,
                            .is_whole = true,
                            .first_byte_us = 400,
                            .duration_us = 2000};
    for (unsigned i = 0; i < WORKERS; i++)
        answered(i, &e);
    assert_on_page(
        "\ntranship_requests_total{route=\"blob\",registry=\"one.example\",cache=\"hit\","
        "status=\"2xx\"} 3\n");
    assert_on_page("\ntranship_served_bytes_total{route=\"blob\",registry=\"one.example\",cache="
                   "\"hit\"} 3000\n");
    assert_on_page("\ntranship_request_first_byte_seconds_bucket{route=\"blob\",le=\"0.001\"} 3\n");
    assert_on_page("\ntranship_request_duration_seconds_bucket{route=\"blob\",le=\"0.001\"} 0\n");
    assert_on_page("\ntranship_request_duration_seconds_sum{route=\"blob\"} 0.006000\n");
}

static void combinations_that_never_were_are_not_printed(void **state)
{
    (void)state;
    autostr struct str page = {0};
    tallies_print(all, &page);
    assert_null(strstr(str_text(&page), "{"));
    assert_non_null(strstr(str_text(&page), "\ntranship_saved_bytes_total 0\n"));
}

static void saved_is_what_was_held_or_coming_and_went_out_whole(void **state)
{
    (void)state;
    static const struct {
        enum cache_outcome cache;
        bool is_whole;
    } cases[] = {{CACHE_HIT, true},         {CACHE_COLLAPSED, true}, {CACHE_STALE, true},
                 {CACHE_REVALIDATED, true}, {CACHE_STORED, true},    {CACHE_FORWARDED, true},
                 {CACHE_NONE, true},        {CACHE_HIT, false}};
    struct tally_sum sum;
    int64_t bytes = 1;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++, bytes *= 10)
        answered(0, &(struct tally_entry){.route = ROUTE_MANIFEST,
                                          .cache = cases[i].cache,
                                          .status = 200,
                                          .body_bytes = (uint64_t)bytes,
                                          .is_whole = cases[i].is_whole});
    tallies_sum(all, &sum);
    assert_int_equal(sum.saved_bytes, 1111);
    assert_int_equal(sum.served_bytes, 1111111);
    assert_int_equal(sum.of_cache[CACHE_HIT], 2);
    assert_int_equal(sum.requests, 8);
    assert_on_page("\ntranship_saved_bytes_total 1111\n");
}

static void statuses_are_told_by_their_class(void **state)
{
    (void)state;
    static const unsigned statuses[] = {0, 101, 200, 206, 304, 404, 416, 429, 500, 503};
    struct tally_sum sum;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        answered(1, &(struct tally_entry){
                        .route = ROUTE_TAGS, .cache = CACHE_NONE, .status = statuses[i]});
    assert_on_page("cache=\"none\",status=\"none\"} 2\n");
    assert_on_page("status=\"2xx\"} 2\n");
    assert_on_page("status=\"3xx\"} 1\n");
    assert_on_page("status=\"4xx\"} 3\n");
    assert_on_page("status=\"5xx\"} 2\n");
    assert_on_page("_duration_seconds_count{route=\"tags\"} 9\n"); /* not of who left before */
    tallies_sum(all, &sum);
    assert_int_equal(sum.requests, 10);
    assert_int_equal(sum.errors, 5);
}

static void a_request_is_under_way_until_it_ends(void **state)
{
    (void)state;
    struct tally *t = tallies_at(all, 2);
    tally_begin(t);
    tally_begin(t);
    assert_int_equal(tally_busy(t), 2);
    assert_on_page("\ntranship_requests_under_way 2\n");
    tally_end(t, &(struct tally_entry){.cache = CACHE_NONE, .status = 200});
    assert_int_equal(tally_busy(t), 1);
    assert_on_page("\ntranship_requests_under_way 1\n");
}

static void *count_often(void *cls)
{
    struct tally *t = cls;
    for (int i = 0; i < 20000; i++) {
        tally_begin(t);
        tally_end(t, &(struct tally_entry){.route = ROUTE_BLOB,
                                           .cache = CACHE_HIT,
                                           .status = 200,
                                           .body_bytes = 2,
                                           .is_whole = true,
                                           .duration_us = 1});
    }
    return NULL;
}

static void sums_may_be_taken_while_all_workers_count(void **state)
{
    (void)state;
    pthread_t threads[WORKERS];
    struct tally_sum sum;
    int64_t last = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_often, tallies_at(all, i)), 0);
    for (int i = 0; i < 20; i++) {
        tallies_sum(all, &sum);
        assert_true(sum.requests >= last);
        last = sum.requests;
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    tallies_sum(all, &sum);
    assert_int_equal(sum.requests, WORKERS * 20000);
    assert_int_equal(sum.served_bytes, WORKERS * 40000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_each_worker_counted_is_summed, begin, end),
        cmocka_unit_test_setup_teardown(combinations_that_never_were_are_not_printed, begin, end),
        cmocka_unit_test_setup_teardown(saved_is_what_was_held_or_coming_and_went_out_whole, begin,
                                        end),
        cmocka_unit_test_setup_teardown(statuses_are_told_by_their_class, begin, end),
        cmocka_unit_test_setup_teardown(a_request_is_under_way_until_it_ends, begin, end),
        cmocka_unit_test_setup_teardown(sums_may_be_taken_while_all_workers_count, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
