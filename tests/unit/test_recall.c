/* SPDX-License-Identifier: Apache-2.0
 * recall: every reference is counted, the budget holds, what was used last stays longest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/recall.h"
#include "base/thread.h"

struct thing {
    _Atomic int references;
    int value;
};

static _Atomic int things_alive;
static _Atomic int mistakes; /* counted, as a failing assertion must not leave another thread */

static int begin(void **state)
{
    (void)state;
    atomic_store(&things_alive, 0);
    atomic_store(&mistakes, 0);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    return atomic_load(&mistakes) + atomic_load(&things_alive) == 0 ? 0 : -1;
}

static struct thing *thing_new(int value)
{
    struct thing *t = alloc_zero(sizeof(*t));
    atomic_store(&t->references, 1);
    t->value = value;
    atomic_fetch_add(&things_alive, 1);
    return t;
}

static void thing_ref(void *object)
{
    struct thing *t = object;
    atomic_fetch_add(&mistakes, atomic_fetch_add(&t->references, 1) <= 0);
}

static void thing_unref(void *object)
{
    struct thing *t = object;
    int before = atomic_fetch_sub(&t->references, 1);
    atomic_fetch_add(&mistakes, before <= 0);
    if (before == 1) {
        atomic_fetch_sub(&things_alive, 1);
        free(t);
    }
}

static struct recall *fresh(size_t max_bytes)
{
    return recall_new(max_bytes, thing_ref, thing_unref);
}

static void put_value(struct recall *r, const char *key, int value, size_t cost_bytes)
{
    struct thing *t = thing_new(value);
    recall_put(r, key, strlen(key), t, cost_bytes);
    thing_unref(t);
}

/* The value, or -1. */
static int value_of(struct recall *r, const char *key)
{
    struct thing *t = recall_get(r, key, strlen(key));
    if (!t)
        return -1;
    int value = t->value;
    thing_unref(t);
    return value;
}

static void what_is_put_is_got_with_a_reference(void **state)
{
    (void)state;
    struct recall *r = fresh(1 << 20);
    struct thing *t = thing_new(5);
    recall_put(r, "key", 3, t, 100);
    assert_int_equal(t->references, 2);
    assert_ptr_equal(recall_get(r, "key", 3), t);
    assert_int_equal(t->references, 3);
    thing_unref(t);
    recall_free(r);
    assert_int_equal(t->references, 1);
    thing_unref(t);
    assert_int_equal(things_alive, 0);
}

static void what_was_never_put_is_absent(void **state)
{
    (void)state;
    struct recall *r = fresh(1 << 20);
    assert_int_equal(value_of(r, "key"), -1);
    put_value(r, "key", 1, 1);
    assert_int_equal(value_of(r, "ke"), -1);
    assert_int_equal(value_of(r, "keys"), -1);
    assert_int_equal(value_of(r, "Key"), -1);
    assert_int_equal(value_of(r, ""), -1);
    recall_forget(r, "none", 4);
    recall_free(r);
    recall_free(NULL);
}

static void keys_are_bytes_zeros_included(void **state)
{
    (void)state;
    struct recall *r = fresh(1 << 20);
    struct thing *a = thing_new(1), *b = thing_new(2);
    recall_put(r, "a\0x", 3, a, 1);
    recall_put(r, "a\0y", 3, b, 1);
    struct thing *got = recall_get(r, "a\0y", 3);
    assert_ptr_equal(got, b);
    thing_unref(got);
    assert_null(recall_get(r, "a", 1));
    assert_null(recall_get(r, "a\0x\0", 4));
    recall_free(r);
    thing_unref(a);
    thing_unref(b);
}

static void putting_again_replaces_and_drops_the_old(void **state)
{
    (void)state;
    struct recall *r = fresh(1 << 20);
    put_value(r, "key", 1, 100);
    size_t before = recall_bytes(r);
    put_value(r, "key", 2, 100);
    assert_int_equal(value_of(r, "key"), 2);
    assert_int_equal(recall_bytes(r), before);
    assert_int_equal(things_alive, 1);
    recall_free(r);
}

/* The value that is there after adding this one. */
static int add_value(struct recall *r, const char *key, int value, size_t cost_bytes)
{
    struct thing *t = thing_new(value), *there = recall_add(r, key, strlen(key), t, cost_bytes);
    int found = there->value;
    thing_unref(t);
    thing_unref(there);
    return found;
}

static void adding_leaves_what_is_there(void **state)
{
    (void)state;
    struct recall *r = fresh(1 << 20);
    assert_int_equal(add_value(r, "key", 1, 100), 1);
    size_t before = recall_bytes(r);
    assert_int_equal(add_value(r, "key", 2, 200), 1);
    assert_int_equal(value_of(r, "key"), 1);
    assert_int_equal(add_value(r, "key", 3, 1 << 20), 1);
    assert_int_equal(add_value(r, "heavy", 4, 1 << 20), 4);
    assert_int_equal(value_of(r, "heavy"), -1);
    assert_int_equal(recall_bytes(r), before);
    assert_int_equal(things_alive, 1);
    recall_free(r);
}

static void the_same_object_may_be_put_again(void **state)
{
    (void)state;
    struct recall *r = fresh(1 << 20);
    struct thing *t = thing_new(1);
    recall_put(r, "key", 3, t, 1);
    recall_put(r, "key", 3, t, 1);
    recall_put(r, "other", 5, t, 1);
    assert_int_equal(t->references, 3);
    recall_free(r);
    assert_int_equal(t->references, 1);
    thing_unref(t);
}

static void forgetting_drops_the_object_and_its_bytes(void **state)
{
    (void)state;
    struct recall *r = fresh(1 << 20);
    put_value(r, "key", 1, 100);
    assert_true(recall_bytes(r) > 100);
    recall_forget(r, "key", 3);
    assert_int_equal(value_of(r, "key"), -1);
    assert_int_equal(recall_bytes(r), 0);
    assert_int_equal(things_alive, 0);
    recall_free(r);
}

static void the_budget_holds_whatever_is_put(void **state)
{
    (void)state;
    enum { BUDGET = 256 * 1024 };
    struct recall *r = fresh(BUDGET);
    char key[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        put_value(r, key, i, (size_t)(i * 37 % 4000));
        assert_true(recall_bytes(r) <= BUDGET);
        assert_int_equal(metric_get(recall_bytes), recall_bytes(r));
    }
    assert_int_equal(value_of(r, "key-19999"), 19999);
    assert_int_equal(value_of(r, "key-0"), -1);
    assert_true(recall_bytes(r) > BUDGET / 2); /* and it is made use of */
    recall_free(r);
    assert_int_equal(things_alive, 0);
    assert_int_equal(metric_get(recall_bytes), 0);
}

static void entries_of_no_cost_are_bounded_too(void **state)
{
    (void)state;
    struct recall *r = fresh(64 * 1024);
    char key[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        put_value(r, key, i, 0);
    }
    assert_true(things_alive < 1000);
    recall_free(r);
}

static void what_is_used_stays_and_what_is_not_goes(void **state)
{
    (void)state;
    struct recall *r = fresh(1 << 20);
    char key[32];
    put_value(r, "used", 1, 1000);
    put_value(r, "unused", 2, 1000);
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        put_value(r, key, i, 1000);
        assert_int_equal(value_of(r, "used"), 1);
    }
    assert_int_equal(value_of(r, "unused"), -1);
    recall_free(r);
}

static void what_is_too_heavy_is_not_remembered_and_the_old_is_forgotten(void **state)
{
    (void)state;
    struct recall *r = fresh(16 * 1000);
    put_value(r, "key", 1, 100);
    put_value(r, "other", 3, 100);
    put_value(r, "key", 2, 1001);
    assert_int_equal(value_of(r, "key"), -1);
    assert_int_equal(value_of(r, "other"), 3);
    put_value(r, "key", 2, SIZE_MAX);
    assert_int_equal(value_of(r, "key"), -1);
    assert_int_equal(things_alive, 1);
    recall_free(r);
}

static void a_memory_of_no_bytes_remembers_nothing(void **state)
{
    (void)state;
    struct recall *r = fresh(0);
    put_value(r, "key", 1, 0);
    assert_int_equal(value_of(r, "key"), -1);
    assert_int_equal(recall_bytes(r), 0);
    recall_free(r);
    assert_int_equal(things_alive, 0);
}

/* An object whose end asks the memory again, which the check of ranks would catch under a lock. */
static struct recall *asked;

static void unref_and_ask(void *object)
{
    recall_forget(asked, "nothing", 7);
    recall_bytes(asked);
    thing_unref(object);
}

static void objects_are_dropped_with_no_lock_held(void **state)
{
    (void)state;
    struct recall *r = asked = recall_new(32 * 1024, thing_ref, unref_and_ask);
    char key[32];
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "key-%d", i % 100);
        put_value(r, key, i, 500);
    }
    recall_forget(r, "key-99", 6);
    recall_free(r);
    assert_int_equal(things_alive, 0);
}

static void *use_often(void *cls)
{
    struct recall *r = cls;
    char key[32];
    unsigned at = (unsigned)(uintptr_t)&key >> 12; /* threads begin at different keys */
    for (int i = 0; i < 20000; i++) {
        at = at * 1664525 + 1013904223;
        int number = (int)(at >> 16) % 200;
        int length = snprintf(key, sizeof(key), "key-%d", number);
        struct thing *t = recall_get(r, key, (size_t)length);
        if (t) {
            atomic_fetch_add(&mistakes, t->value != number);
            thing_unref(t);
        } else {
            put_value(r, key, number, 300);
        }
        if (i % 50 == 0)
            recall_forget(r, key, (size_t)length);
    }
    return NULL;
}

static void threads_get_put_and_forget_at_once(void **state)
{
    (void)state;
    struct error e = {0};
    struct recall *r = fresh(64 * 1024);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(thread_start(&threads[i], "use", use_often, r, &e), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(recall_bytes(r) <= 64 * 1024);
    assert_true(things_alive > 0);
    recall_free(r);
    assert_int_equal(things_alive, 0);
    assert_int_equal(metric_get(recall_bytes), 0);
}

static void clearing_drops_everything_and_leaves_it_usable(void **state)
{
    (void)state;
    struct recall *r = fresh(1 << 20);
    for (int i = 0; i < 500; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key %d", i);
        put_value(r, key, i, 10);
    }
    recall_clear(r);
    assert_int_equal(things_alive, 0);
    assert_int_equal(recall_bytes(r), 0);
    assert_int_equal(value_of(r, "key 7"), -1);
    put_value(r, "key 7", 8, 10);
    assert_int_equal(value_of(r, "key 7"), 8);
    recall_free(r);
}

static void sum_up(void *object, void *cls)
{
    const struct thing *t = object;
    *(int *)cls += t->value;
}

static void each_visits_all_that_is_there_and_keeps_no_reference(void **state)
{
    struct recall *r = fresh(1 << 20);
    int sum = 0;
    (void)state;
    for (int i = 1; i <= 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "key %d", i);
        put_value(r, key, i, 10);
    }
    recall_each(r, sum_up, &sum);
    assert_int_equal(sum, 5050);
    recall_free(r);
}

#define counted(test) cmocka_unit_test_setup_teardown(test, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        counted(what_is_put_is_got_with_a_reference),
        counted(what_was_never_put_is_absent),
        counted(each_visits_all_that_is_there_and_keeps_no_reference),
        counted(keys_are_bytes_zeros_included),
        counted(putting_again_replaces_and_drops_the_old),
        counted(adding_leaves_what_is_there),
        counted(the_same_object_may_be_put_again),
        counted(forgetting_drops_the_object_and_its_bytes),
        counted(the_budget_holds_whatever_is_put),
        counted(entries_of_no_cost_are_bounded_too),
        counted(what_is_used_stays_and_what_is_not_goes),
        counted(what_is_too_heavy_is_not_remembered_and_the_old_is_forgotten),
        counted(a_memory_of_no_bytes_remembers_nothing),
        counted(clearing_drops_everything_and_leaves_it_usable),
        counted(objects_are_dropped_with_no_lock_held),
        counted(threads_get_put_and_forget_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
