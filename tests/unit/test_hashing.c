/* SPDX-License-Identifier: Apache-2.0
 * The thread beside: what is posted is done, in its order, by one thread, also while it stops. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "cache/hashing.h"

enum { WORKS = 100, TURNS = 5 };

struct turn {
    struct hash_work work;
    struct hashing *hashing;
    unsigned *clock, done, last;
    pthread_t by;
};

static void run(struct hash_work *w)
{
    struct turn *t = (struct turn *)w;
    t->by = pthread_self();
    t->last = (*t->clock)++;
    if (++t->done < TURNS)
        hashing_post(t->hashing, w);
}

static void works_take_turns_and_all_are_done_before_the_end(void **state)
{
    (void)state;
    struct error e;
    struct turn turns[WORKS] = {0};
    unsigned clock = 0;
    struct hashing *h = hashing_start(&e);
    assert_non_null(h);
    for (size_t i = 0; i < WORKS; i++) {
        turns[i] = (struct turn){.work.run = run, .hashing = h, .clock = &clock};
        hashing_post(h, &turns[i].work);
    }
    hashing_stop(h);
    assert_int_equal(clock, WORKS * TURNS);
    for (size_t i = 0; i < WORKS; i++) {
        assert_int_equal(turns[i].done, TURNS);
        assert_true(turns[i].last > turns[i > 0 ? i - 1 : 0].last || i == 0);
        assert_true(pthread_equal(turns[i].by, turns[0].by));
        assert_false(pthread_equal(turns[i].by, pthread_self()));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(works_take_turns_and_all_are_done_before_the_end),
    };
    return cmocka_run_group_tests_name("hashing", tests, NULL, NULL);
}
