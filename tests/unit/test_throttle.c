/* SPDX-License-Identifier: Apache-2.0
 * throttle: who waits for how long, on a clock that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>

#include "serve/throttle.h"

enum { START_MS = 5000000 };

static struct throttle t;

static int start(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    return 0;
}

static struct throttle_network network(const char *address)
{
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, address, &four.sin_addr) == 1)
        return throttle_network_of((const struct sockaddr *)&four);
    assert_int_equal(inet_pton(AF_INET6, address, &six.sin6_addr), 1);
    return throttle_network_of((const struct sockaddr *)&six);
}

static struct throttle_network numbered(unsigned i)
{
    struct throttle_network n = network("10.0.0.0");
    n.bytes[14] = (unsigned char)(i >> 8);
    n.bytes[15] = (unsigned char)i;
    return n;
}

/* A wrong password as soon as its turn comes; returns when that was. */
static int64_t guess(const struct throttle_network *n, int64_t now_ms)
{
    int64_t at_ms = throttle_take_turn(&t, n, now_ms);
    assert_true(at_ms >= now_ms);
    throttle_fail(&t, n, at_ms);
    return at_ms;
}

static void a_few_typing_errors_cost_no_time(void **state)
{
    struct throttle_network me = network("192.0.2.1");
    (void)state;
    for (int i = 0; i < THROTTLE_FREE_FAILURES; i++)
        assert_int_equal(guess(&me, START_MS), START_MS);
    assert_true(throttle_take_turn(&t, &me, START_MS) > START_MS);
}

static void each_further_guess_waits_longer_up_to_a_limit(void **state)
{
    struct throttle_network me = network("192.0.2.1");
    static const int64_t gaps[] = {0, 0, 0, 0, 0, 1000, 2000, 4000, 8000, 16000};
    int64_t now_ms = START_MS;
    (void)state;
    for (size_t i = 0; i < sizeof gaps / sizeof *gaps; i++) {
        int64_t at_ms = guess(&me, now_ms);
        assert_int_equal(at_ms - now_ms, gaps[i]);
        now_ms = at_ms;
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(throttle_take_turn(&t, &me, now_ms), -1); /* longer than a client waits */
        now_ms += THROTTLE_MOST_MS;
        assert_int_equal(guess(&me, now_ms), now_ms);
    }
}

static void in_a_day_one_network_gets_few_guesses(void **state)
{
    struct throttle_network me = network("192.0.2.1");
    int64_t now_ms = START_MS, end_ms = START_MS + 86400 * 1000;
    unsigned guesses = 0;
    (void)state;
    for (; now_ms < end_ms; now_ms += 50) {
        int64_t at_ms = throttle_take_turn(&t, &me, now_ms);
        if (at_ms < 0)
            continue;
        guesses++;
        throttle_fail(&t, &me, at_ms);
    }
    assert_in_range(guesses, 2000, 3000);
}

static void those_who_guess_at_once_get_one_turn_after_the_other_and_the_rest_none(void **state)
{
    struct throttle_network me = network("192.0.2.1");
    int waiting = 0;
    (void)state;
    for (int i = 0; i < THROTTLE_FREE_FAILURES; i++)
        guess(&me, START_MS);
    for (int i = 0; i < 1000; i++) {
        int64_t at_ms = throttle_take_turn(&t, &me, START_MS);
        if (at_ms < 0)
            continue;
        waiting++;
        assert_int_equal(at_ms, START_MS + waiting * THROTTLE_FIRST_MS);
    }
    assert_int_equal(waiting, THROTTLE_PATIENCE_MS / THROTTLE_FIRST_MS);
}

static void nobody_waits_for_another_network(void **state)
{
    struct throttle_network me = network("192.0.2.1"), you = network("192.0.2.2");
    (void)state;
    for (int i = 0; i < 7; i++)
        guess(&me, START_MS);
    assert_int_equal(throttle_take_turn(&t, &you, START_MS), START_MS);
}

static void networks_are_v4_addresses_and_v6_prefixes(void **state)
{
    struct throttle_network a = network("192.0.2.1"), b = network("::ffff:192.0.2.1"),
                            c = network("192.0.2.2"), d = network("2001:db8:0:1::1"),
                            e = network("2001:db8:0:1:ffff::2"), f = network("2001:db8:0:2::1");
    (void)state;
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_not_equal(&a, &c, sizeof a);
    assert_memory_equal(&d, &e, sizeof d);
    assert_memory_not_equal(&d, &f, sizeof d);
}

static void all_is_forgiven_after_a_while(void **state)
{
    struct throttle_network me = network("192.0.2.1");
    (void)state;
    for (int i = 0; i < 9; i++)
        throttle_fail(&t, &me, START_MS);
    int64_t later_ms = START_MS + THROTTLE_FORGET_MS;
    assert_int_equal(throttle_take_turn(&t, &me, later_ms), later_ms);
    for (int i = 0; i < THROTTLE_FREE_FAILURES; i++)
        assert_int_equal(guess(&me, later_ms), later_ms);
}

static void there_is_room_for_so_many_and_the_quietest_makes_way(void **state)
{
    struct throttle_network first = numbered(0), second = numbered(1);
    (void)state;
    for (unsigned i = 0; i < THROTTLE_SUSPECTS; i++) {
        struct throttle_network n = numbered(i);
        for (int k = 0; k < THROTTLE_FREE_FAILURES; k++)
            throttle_fail(&t, &n, START_MS + i);
    }
    int64_t now_ms = START_MS + THROTTLE_SUSPECTS;
    throttle_fail(&t, &first, now_ms);
    struct throttle_network more = numbered(THROTTLE_SUSPECTS);
    throttle_fail(&t, &more, now_ms);
    assert_true(throttle_take_turn(&t, &first, now_ms) > now_ms);
    assert_int_equal(throttle_take_turn(&t, &second, now_ms), now_ms);
}

static void all_together_get_so_many_checks_a_second(void **state)
{
    (void)state;
    for (int64_t second_ms = START_MS; second_ms < START_MS + 5000; second_ms += 1000) {
        for (int i = 0; i < THROTTLE_CHECKS_A_SECOND; i++)
            assert_int_equal(throttle_take_check(&t, second_ms + 10), second_ms + 10);
        assert_int_equal(throttle_take_check(&t, second_ms + 999), second_ms + 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_few_typing_errors_cost_no_time, start),
        cmocka_unit_test_setup(each_further_guess_waits_longer_up_to_a_limit, start),
        cmocka_unit_test_setup(in_a_day_one_network_gets_few_guesses, start),
        cmocka_unit_test_setup(
            those_who_guess_at_once_get_one_turn_after_the_other_and_the_rest_none, start),
        cmocka_unit_test_setup(nobody_waits_for_another_network, start),
        cmocka_unit_test_setup(networks_are_v4_addresses_and_v6_prefixes, start),
        cmocka_unit_test_setup(all_is_forgiven_after_a_while, start),
        cmocka_unit_test_setup(there_is_room_for_so_many_and_the_quietest_makes_way, start),
        cmocka_unit_test_setup(all_together_get_so_many_checks_a_second, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
