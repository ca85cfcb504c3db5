/* SPDX-License-Identifier: Apache-2.0
 * account: the same name gets the same counters, however often upstreams are built; names that come
 * too late share the last place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include <stdio.h>

#include "base/error.h"
#include "upstream/account.h"
#include "upstream/upstream.h"

static void a_registry_keeps_its_number(void **state)
{
    (void)state;
    unsigned one = account_registry("one.example"), two = account_registry("two.example");
    assert_int_not_equal(one, 0);
    assert_int_not_equal(one, two);
    assert_int_equal(account_registry("one.example"), one);
    assert_string_equal(account_registry_name(two), "two.example");
    assert_string_equal(account_registry_name(0), "");
    assert_null(account_registry_name(two + 1));
    assert_null(account_registry_name(ACCOUNT_REGISTRIES_MAX));
}

static struct upstreams *world(int64_t tag_ttl_ms)
{
    struct error e;
    char *const mirrors[] = {"http://127.0.0.1:1/a", "http://127.0.0.1:1/b", NULL};
    struct upstreams *u = upstreams_new();
    const struct upstream_options o = {.registry = "replaced.example",
                                       .origin = "http://127.0.0.1:2",
                                       .mirrors = mirrors,
                                       .tag_ttl_ms = tag_ttl_ms};
    assert_int_equal(upstreams_add(u, &o, &e), 0);
    return u;
}

static void an_upstream_that_is_replaced_goes_on_with_its_counters(void **state)
{
    (void)state;
    struct upstreams *u = world(1000);
    const struct upstream *before = upstreams_at(u, 0);
    struct account *mirror = before->sources[0].account;
    assert_ptr_not_equal(mirror, before->sources[1].account);
    count_add(&mirror->requests, 5);
    assert_true(upstreams_replace(u, world(9000)));
    const struct upstream *after = upstreams_at(u, 0);
    assert_ptr_not_equal(after, before);
    assert_int_equal(after->number, before->number);
    assert_ptr_equal(after->sources[0].account, mirror);
    assert_int_equal(count_get(&after->sources[0].account->requests), 5);
    assert_string_equal(after->sources[0].account->role, "mirror");
    assert_string_equal(upstream_origin(after)->account->role, "origin");
    upstreams_free(u);
    assert_string_equal(mirror->url, "http://127.0.0.1:1/a"); /* nothing of the upstream's */
}

static void a_mirror_that_becomes_the_origin_is_counted_anew(void **state)
{
    (void)state;
    assert_ptr_not_equal(account_of("r.example", "http://h", false),
                         account_of("r.example", "http://h", true));
    assert_ptr_not_equal(account_of("r.example", "http://h", false),
                         account_of("s.example", "http://h", false));
}

enum { THREADS = 8, NAMES = 30 };

static void *name_all(void *cls)
{
    unsigned *numbers = cls;
    char name[32];
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "shared%d.example", i);
        numbers[i] = account_registry(name);
    }
    return NULL;
}

static void threads_that_name_a_registry_at_once_get_one_number(void **state)
{
    pthread_t threads[THREADS];
    unsigned numbers[THREADS][NAMES];
    char name[32];
    (void)state;
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, name_all, numbers[t]), 0);
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "shared%d.example", i);
        assert_string_equal(account_registry_name(numbers[0][i]), name);
        for (int t = 1; t < THREADS; t++)
            assert_int_equal(numbers[t][i], numbers[0][i]);
    }
}

/* Last: it fills the book. */
static void who_comes_too_late_shares_the_last_place(void **state)
{
    (void)state;
    char name[32];
    unsigned first = account_registry("early.example"), number = 0;
    const struct account *early = account_of("early.example", "http://early", true), *last = NULL;
    for (int i = 0; i < 2 * ACCOUNT_SOURCES_MAX; i++) {
        snprintf(name, sizeof name, "http://late%d", i);
        number = account_registry(name + 7);
        last = account_of("late.example", name, true);
    }
    assert_int_equal(number, ACCOUNT_REGISTRIES_MAX - 1);
    assert_string_equal(account_registry_name(number), "other");
    assert_string_equal(last->url, "other");
    assert_ptr_equal(account_of("later.example", "http://latest", false), last);
    assert_int_equal(account_registry("early.example"), first);
    assert_ptr_equal(account_of("early.example", "http://early", true), early);
    size_t count = 0;
    for (const struct account *a = NULL; (a = account_next(a));)
        count++;
    assert_int_equal(count, ACCOUNT_SOURCES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_registry_keeps_its_number),
        cmocka_unit_test(an_upstream_that_is_replaced_goes_on_with_its_counters),
        cmocka_unit_test(a_mirror_that_becomes_the_origin_is_counted_anew),
        cmocka_unit_test(threads_that_name_a_registry_at_once_get_one_number),
        cmocka_unit_test(who_comes_too_late_shares_the_last_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
