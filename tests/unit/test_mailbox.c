/* SPDX-License-Identifier: Apache-2.0
 * mailbox: letters come out once and in order, the limit holds, closing lets the receiver drain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/mailbox.h"
#include "base/thread.h"

struct note {
    struct letter letter; /* first, so that a letter is its note */
    int sender;
    int number;
};

static int number_of(struct letter *letter)
{
    return letter ? ((struct note *)letter)->number : -1;
}

static void letters_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    struct note notes[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    struct mailbox *m = mailbox_new(10, NULL, NULL);
    for (size_t i = 0; i < 3; i++)
        assert_true(mailbox_post(m, &notes[i].letter));
    assert_int_equal(mailbox_count(m), 3);
    for (int i = 1; i <= 3; i++)
        assert_int_equal(number_of(mailbox_take(m, 0)), i);
    assert_null(mailbox_take(m, 0));
    assert_int_equal(mailbox_count(m), 0);
    mailbox_free(m);
}

static void a_full_mailbox_refuses_until_a_letter_is_taken(void **state)
{
    (void)state;
    struct note notes[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    struct mailbox *m = mailbox_new(2, NULL, NULL);
    assert_true(mailbox_post(m, &notes[0].letter));
    assert_true(mailbox_post(m, &notes[1].letter));
    assert_false(mailbox_post(m, &notes[2].letter));
    assert_int_equal(mailbox_count(m), 2);
    assert_int_equal(number_of(mailbox_take(m, 0)), 1);
    assert_true(mailbox_post(m, &notes[2].letter));
    assert_int_equal(number_of(mailbox_take(m, 0)), 2);
    assert_int_equal(number_of(mailbox_take(m, 0)), 3);
    mailbox_free(m);
}

static void what_is_bounded_elsewhere_goes_past_the_limit(void **state)
{
    (void)state;
    struct note notes[2] = {{.number = 1}, {.number = 2}};
    struct mailbox *m = mailbox_new(1, NULL, NULL);
    assert_true(mailbox_post(m, &notes[0].letter));
    assert_true(mailbox_post_always(m, &notes[1].letter));
    assert_int_equal(mailbox_count(m), 2);
    assert_int_equal(number_of(mailbox_take(m, 0)), 1);
    assert_int_equal(number_of(mailbox_take(m, 0)), 2);
    mailbox_free(m);
}

static void a_closed_mailbox_refuses_but_gives_what_is_left(void **state)
{
    (void)state;
    struct note notes[2] = {{.number = 1}, {.number = 2}};
    struct mailbox *m = mailbox_new(10, NULL, NULL);
    assert_true(mailbox_post(m, &notes[0].letter));
    mailbox_close(m);
    assert_false(mailbox_post(m, &notes[1].letter));
    assert_false(mailbox_post_always(m, &notes[1].letter));
    assert_int_equal(number_of(mailbox_take(m, -1)), 1);
    assert_null(mailbox_take(m, -1));
    assert_null(mailbox_take(m, 1000000));
    mailbox_free(m);
}

static void taking_gives_up_when_the_time_is_over(void **state)
{
    (void)state;
    struct mailbox *m = mailbox_new(10, NULL, NULL);
    int64_t start = clock_mono_us();
    assert_null(mailbox_take(m, 20));
    assert_true(clock_mono_us() - start >= 19000); /* whole milliseconds count */
    mailbox_free(m);
}

static void waiting_does_not_hang_on_a_frozen_clock(void **state)
{
    (void)state;
    struct mailbox *m = mailbox_new(10, NULL, NULL);
    clock_freeze(0, 0);
    assert_null(mailbox_take(m, 5));
    clock_real();
    mailbox_free(m);
}

struct bell {
    struct mailbox *mailbox;
    _Atomic int rings;
    size_t waiting;
};

/* Looks into the mailbox, which would hang or be caught if its lock were held. */
static void ring(void *cls)
{
    struct bell *b = cls;
    b->waiting = mailbox_count(b->mailbox);
    atomic_fetch_add(&b->rings, 1);
}

static void the_receiver_is_woken_after_each_post_with_no_lock_held(void **state)
{
    (void)state;
    struct note notes[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    struct bell b = {.rings = 0};
    struct mailbox *m = b.mailbox = mailbox_new(1, ring, &b);
    assert_true(mailbox_post(m, &notes[0].letter));
    assert_int_equal(b.rings, 1);
    assert_int_equal(b.waiting, 1);
    assert_false(mailbox_post(m, &notes[1].letter));
    assert_int_equal(b.rings, 1);
    assert_true(mailbox_post_always(m, &notes[1].letter));
    assert_int_equal(b.rings, 2);
    mailbox_close(m);
    assert_int_equal(b.rings, 3);
    mailbox_take(m, 0);
    mailbox_take(m, 0);
    mailbox_free(m);
}

static void *take_one(void *cls)
{
    return mailbox_take(cls, -1);
}

static void a_waiting_receiver_gets_what_is_posted(void **state)
{
    (void)state;
    struct note n = {.number = 5};
    struct error e = {0};
    struct mailbox *m = mailbox_new(1, NULL, NULL);
    pthread_t t;
    void *letter = NULL;
    assert_int_equal(thread_start(&t, "take", take_one, m, &e), 0);
    assert_true(mailbox_post(m, &n.letter));
    pthread_join(t, &letter);
    assert_ptr_equal(letter, &n.letter);
    mailbox_free(m);
}

static void closing_releases_a_waiting_receiver(void **state)
{
    (void)state;
    struct error e = {0};
    struct mailbox *m = mailbox_new(1, NULL, NULL);
    pthread_t t;
    void *letter = m;
    assert_int_equal(thread_start(&t, "take", take_one, m, &e), 0);
    mailbox_close(m);
    pthread_join(t, &letter);
    assert_null(letter);
    mailbox_free(m);
}

enum { SENDERS = 4, LETTERS = 5000 };

struct sender {
    struct mailbox *mailbox;
    int id;
};

static void *send_many(void *cls)
{
    struct sender *s = cls;
    for (int i = 0; i < LETTERS; i++) {
        struct note *n = alloc_zero(sizeof(*n));
        n->sender = s->id;
        n->number = i;
        while (!mailbox_post(s->mailbox, &n->letter))
            sched_yield(); /* full: the receiver is behind */
    }
    return NULL;
}

static void many_senders_lose_nothing_and_each_keeps_its_order(void **state)
{
    (void)state;
    struct error e = {0};
    struct mailbox *m = mailbox_new(16, NULL, NULL);
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    int next[SENDERS] = {0};
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){m, i};
        assert_int_equal(thread_start(&threads[i], "send", send_many, &senders[i], &e), 0);
    }
    for (int i = 0; i < SENDERS * LETTERS; i++) {
        struct note *n = (struct note *)mailbox_take(m, -1);
        assert_non_null(n);
        assert_int_equal(n->number, next[n->sender]++);
        assert_true(mailbox_count(m) <= 16);
        free(n);
    }
    assert_null(mailbox_take(m, 0));
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    mailbox_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_come_out_in_the_order_they_went_in),
        cmocka_unit_test(a_full_mailbox_refuses_until_a_letter_is_taken),
        cmocka_unit_test(what_is_bounded_elsewhere_goes_past_the_limit),
        cmocka_unit_test(a_closed_mailbox_refuses_but_gives_what_is_left),
        cmocka_unit_test(taking_gives_up_when_the_time_is_over),
        cmocka_unit_test(waiting_does_not_hang_on_a_frozen_clock),
        cmocka_unit_test(the_receiver_is_woken_after_each_post_with_no_lock_held),
        cmocka_unit_test(a_waiting_receiver_gets_what_is_posted),
        cmocka_unit_test(closing_releases_a_waiting_receiver),
        cmocka_unit_test(many_senders_lose_nothing_and_each_keeps_its_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
