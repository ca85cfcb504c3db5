/* SPDX-License-Identifier: Apache-2.0
 * What is remembered of sources, at chosen times; and thousands of random histories of pools, of
 * which only what must always hold is asserted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "upstream/health.h"

enum { MAX = 6, NOW = 1000000, HISTORIES = 4000, STEPS = 300, REQUESTS = 24 };

struct pool {
    struct health sources[MAX];
    const struct health *all[MAX];
    size_t count, order[MAX];
};

static void pool_init(struct pool *p, size_t count)
{
    p->count = count;
    for (size_t i = 0; i < count; i++) {
        health_init(&p->sources[i], i + 1 == count);
        p->all[i] = &p->sources[i];
    }
}

static size_t order_of(struct pool *p, const char *digest, int64_t now_ms)
{
    return health_order(p->all, p->count, "library/demo", digest, now_ms, p->order);
}

static void assert_order(struct pool *p, int64_t now_ms, size_t count, const size_t *wanted)
{
    assert_int_equal(order_of(p, "sha256:a", now_ms), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(p->order[i], wanted[i]);
}

static void unknown_sources_are_asked_in_the_order_of_preference(void **state)
{
    struct pool p;
    (void)state;
    pool_init(&p, 3);
    assert_order(&p, NOW, 3, (size_t[]){0, 1, 2});
}

static void a_mirror_that_never_answered_is_tried_by_one_request(void **state)
{
    struct pool p;
    (void)state;
    pool_init(&p, 3);
    health_begin(&p.sources[0]);
    assert_order(&p, NOW, 3, (size_t[]){1, 2, 0});
    health_begin(&p.sources[1]);
    assert_order(&p, NOW, 3, (size_t[]){2, 0, 1});
    health_sign(&p.sources[0], 5, 20, NOW);
    assert_order(&p, NOW, 3, (size_t[]){0, 2, 1});
}

static void a_failure_puts_a_source_behind_all_that_work_and_a_probe_brings_it_back(void **state)
{
    struct pool p;
    (void)state;
    pool_init(&p, 3);
    health_failed(&p.sources[0], HEALTH_ERROR, NOW);
    assert_order(&p, NOW, 3, (size_t[]){1, 2, 0});
    assert_false(health_wants_probe(&p.sources[0], NOW + HEALTH_BACKOFF_MS - 1));
    assert_true(health_wants_probe(&p.sources[0], NOW + HEALTH_BACKOFF_MS));
    health_probe_begin(&p.sources[0]);
    assert_false(health_wants_probe(&p.sources[0], NOW + HEALTH_BACKOFF_MS));
    assert_order(&p, NOW + HEALTH_BACKOFF_MS, 3, (size_t[]){1, 2, 0});
    health_probe_end(&p.sources[0], HEALTH_OK, NOW + HEALTH_BACKOFF_MS);
    /* back, but behind those without a stain, until content came from it or for a while */
    assert_order(&p, NOW + 2000, 3, (size_t[]){1, 2, 0});
    assert_true(health_is_usable(&p.sources[0], NOW + 2000));
    assert_order(&p, NOW + HEALTH_BACKOFF_MS + HEALTH_TRIAL_MS, 3, (size_t[]){0, 1, 2});
    health_succeeded(&p.sources[0], 0, 0, NOW + 2000);
    assert_order(&p, NOW + 2000, 3, (size_t[]){0, 1, 2});
}

static void the_time_out_of_the_way_doubles_up_to_its_cap(void **state)
{
    struct health h;
    int64_t now_ms = NOW, last = 0;
    (void)state;
    for (int is_origin = 0; is_origin < 2; is_origin++) {
        health_init(&h, is_origin);
        last = 0;
        for (int i = 0; i < 20; i++) {
            health_failed(&h, HEALTH_TIMEOUT, now_ms);
            int64_t wait = h.out_until_ms - now_ms;
            int64_t cap = is_origin ? HEALTH_ORIGIN_MAX_MS : HEALTH_BACKOFF_MAX_MS;
            assert_true(wait == (last == 0 ? HEALTH_BACKOFF_MS : last * 2 < cap ? last * 2 : cap));
            last = wait;
            now_ms = h.out_until_ms;
        }
    }
}

static void failures_of_requests_that_were_under_way_together_count_once(void **state)
{
    struct health h;
    (void)state;
    health_init(&h, false);
    for (int i = 0; i < 16; i++)
        health_failed(&h, HEALTH_ERROR, NOW + i);
    assert_int_equal(h.failures, 1);
    assert_true(h.out_until_ms <= NOW + 16 + HEALTH_BACKOFF_MS);
}

static void wrong_bytes_are_remembered_longest_and_not_excused_by_right_ones(void **state)
{
    struct pool p;
    (void)state;
    pool_init(&p, 2);
    health_failed(&p.sources[0], HEALTH_WRONG, NOW);
    health_succeeded(&p.sources[0], 1 << 20, 10, NOW + 1);
    health_failed(&p.sources[0], HEALTH_ERROR, NOW + 2);
    assert_order(&p, NOW + HEALTH_WRONG_MS - 1, 1, (size_t[]){1});
    assert_false(health_wants_probe(&p.sources[0], NOW + HEALTH_WRONG_MS - 1));
    assert_true(health_wants_probe(&p.sources[0], NOW + HEALTH_WRONG_MS));
    health_failed(&p.sources[1], HEALTH_WRONG, NOW); /* the origin is asked nevertheless */
    assert_order(&p, NOW + 1, 1, (size_t[]){1});
}

static void a_source_that_limits_us_comes_last_until_its_time(void **state)
{
    struct pool p;
    (void)state;
    pool_init(&p, 3);
    health_limited(&p.sources[0], 7, NOW);
    health_failed(&p.sources[1], HEALTH_ERROR, NOW);
    assert_order(&p, NOW + 1, 3, (size_t[]){2, 1, 0});
    assert_order(&p, NOW + 6999, 3, (size_t[]){2, 1, 0});
    assert_order(&p, NOW + 7000, 3, (size_t[]){0, 2, 1});
    health_limited(&p.sources[2], 0, NOW);
    assert_order(&p, NOW + HEALTH_LIMITED_MS - 1, 3, (size_t[]){1, 2, 0});
}

static void what_a_mirror_lacked_is_not_asked_of_it_for_a_while(void **state)
{
    struct pool p;
    (void)state;
    pool_init(&p, 2);
    health_missed(&p.sources[0], "library/demo", "sha256:a", NOW);
    assert_order(&p, NOW + 1, 1, (size_t[]){1});
    assert_int_equal(order_of(&p, "sha256:b", NOW + 1), 2);
    assert_int_equal(order_of(&p, "sha256:a", NOW + HEALTH_MISS_MS), 2);
    health_missed(&p.sources[0], "library/demo", "sha256:b", NOW);
    health_missed(&p.sources[0], "library/demo", "sha256:c", NOW);
    assert_int_equal(order_of(&p, "sha256:d", NOW + 1), 1); /* it lacks the repository, then */
    assert_int_equal(order_of(&p, NULL, NOW + 1), 1);
    health_had(&p.sources[0], "library/demo");
    assert_int_equal(order_of(&p, "sha256:d", NOW + 1), 2);
    health_missed(&p.sources[1], "library/demo", "sha256:e", NOW); /* the origin is always asked */
    assert_int_equal(order_of(&p, "sha256:e", NOW + 1), 2);
}

static void the_memory_of_what_is_missing_is_bounded_and_keeps_the_newest(void **state)
{
    struct pool p;
    char digest[] = "sha256:0000";
    (void)state;
    pool_init(&p, 2);
    for (int i = 0; i < 1000; i++) {
        digest[7] = (char)('0' + i / 100);
        digest[8] = (char)('0' + i / 10 % 10);
        digest[9] = (char)('0' + i % 10);
        health_missed(&p.sources[0], "library/demo", digest, NOW + i);
        health_had(&p.sources[0], "library/demo");
    }
    assert_int_equal(order_of(&p, digest, NOW + 1001), 1);
}

static void speed_counts_before_preference_but_only_in_coarse_steps(void **state)
{
    struct pool p;
    (void)state;
    pool_init(&p, 3);
    health_sign(&p.sources[0], 1, 350, NOW);
    health_sign(&p.sources[1], 1, 5, NOW);
    assert_order(&p, NOW, 3, (size_t[]){0, 1, 2});
    health_sign(&p.sources[2], 1, 10, NOW);
    health_succeeded(&p.sources[0], 1 << 20, 60000, NOW);
    assert_order(&p, NOW, 3, (size_t[]){1, 2, 0});
    health_sign(&p.sources[1], 1, 60000, NOW);
    assert_order(&p, NOW, 3, (size_t[]){2, 0, 1});
    assert_order(&p, NOW + HEALTH_MEASURE_MS, 3, (size_t[]){0, 1, 2});
}

static void the_hedge_delay_follows_what_is_known(void **state)
{
    struct health h;
    (void)state;
    health_init(&h, false);
    assert_int_equal(health_hedge_ms(&h, NOW), HEALTH_HEDGE_MS);
    health_sign(&h, 1, 2, NOW);
    assert_int_equal(health_hedge_ms(&h, NOW), HEALTH_HEDGE_MIN_MS);
    for (int i = 0; i < 30; i++)
        health_sign(&h, 1, 5000, NOW);
    assert_int_equal(health_hedge_ms(&h, NOW), HEALTH_HEDGE_MAX_MS);
    assert_int_equal(health_hedge_ms(&h, NOW + HEALTH_MEASURE_MS), HEALTH_HEDGE_MS);
}

static void who_waits_in_vain_makes_the_others_pass_over_until_a_sign_comes(void **state)
{
    struct pool p;
    (void)state;
    pool_init(&p, 2);
    health_begin(&p.sources[0]);
    health_suspect(&p.sources[0], NOW);
    assert_order(&p, NOW, 2, (size_t[]){1, 0});
    health_sign(&p.sources[0], 1, 1500, NOW + 1);
    assert_true(health_is_usable(&p.sources[0], NOW + 1));
    health_end(&p.sources[0], true);
    assert_int_equal(p.sources[0].suspicions, 0);
    assert_int_equal(p.sources[0].under_way, 0);
}

/* --- random histories ------------------------------------------------------------------------- */

static uint64_t seed;

static unsigned chance(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)((seed >> 11) % below);
}

struct request {
    bool is_open, was_suspected;
    size_t source;
};

static void check_order(struct pool *p, int64_t now_ms)
{
    char digest[] = "sha256:x";
    digest[7] = (char)('a' + chance(5));
    size_t n = order_of(p, digest, now_ms), seen[MAX] = {0}, again[MAX];
    bool was_usable = true;
    assert_in_range(n, 1, p->count);
    for (size_t i = 0; i < n; i++) {
        const struct health *h = &p->sources[p->order[i]];
        bool is_usable = health_is_usable(h, now_ms);
        assert_in_range(p->order[i], 0, p->count - 1);
        assert_int_equal(seen[p->order[i]]++, 0);
        assert_true(was_usable || !is_usable); /* nobody usable behind one that is not */
        /* A limit is obeyed as long as there is anybody else. */
        if (now_ms < h->limited_until_ms && i + 1 < n)
            assert_true(now_ms < p->sources[p->order[i + 1]].limited_until_ms);
        if (!h->is_origin)
            assert_false(h->is_out && h->why == HEALTH_WRONG);
        was_usable = is_usable;
    }
    assert_int_equal(seen[p->count - 1], 1); /* the origin is among them */
    /* A pure function: the same again. */
    assert_int_equal(health_order(p->all, p->count, "library/demo", digest, now_ms, again), n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(again[i], p->order[i]);
}

static void check_source(const struct health *h, int64_t now_ms)
{
    int64_t cap = h->why == HEALTH_WRONG ? HEALTH_WRONG_MS
                  : h->is_origin         ? HEALTH_ORIGIN_MAX_MS
                                         : HEALTH_BACKOFF_MAX_MS;
    if (h->is_origin && h->why == HEALTH_WRONG)
        cap = HEALTH_BACKOFF_MAX_MS;
    if (h->is_out)
        assert_true(h->out_until_ms <= now_ms + cap);
    if (h->is_probed)
        assert_false(health_wants_probe(h, now_ms));
    assert_in_range(health_hedge_ms(h, now_ms), HEALTH_HEDGE_MIN_MS, HEALTH_HEDGE_MAX_MS);
}

static void end_request(struct health *h, struct request *r, int64_t now_ms)
{
    switch (chance(9)) {
    case 0:
    case 1:
        health_sign(h, chance(3), chance(4000), now_ms);
        health_succeeded(h, chance(2) ? chance(100000000) : 0, chance(30000), now_ms);
        health_had(h, "library/demo");
        break;
    case 2:
        health_failed(h, HEALTH_ERROR, now_ms);
        break;
    case 3:
        health_failed(h, HEALTH_TIMEOUT, now_ms);
        break;
    case 4:
        health_limited(h, (int)chance(100), now_ms);
        break;
    case 5:
        health_missed(h, "library/demo", "sha256:a", now_ms);
        break;
    case 6:
        if (chance(5) == 0)
            health_failed(h, HEALTH_WRONG, now_ms);
        break;
    case 7:
        health_failed(h, HEALTH_SLOW, now_ms);
        break;
    default: /* cancelled */
        break;
    }
    health_end(h, r->was_suspected);
    *r = (struct request){0};
}

static void step(struct pool *p, struct request *requests, unsigned *probes, int64_t now_ms)
{
    struct request *r = &requests[chance(REQUESTS)];
    struct health *h;
    if (!r->is_open) {
        check_order(p, now_ms);
        *r = (struct request){.is_open = true, .source = p->order[0]};
        health_begin(&p->sources[r->source]);
    } else if (!r->was_suspected && chance(3) == 0) {
        health_suspect(&p->sources[r->source], now_ms);
        r->was_suspected = true;
    } else {
        end_request(&p->sources[r->source], r, now_ms);
    }
    size_t i = chance((unsigned)p->count);
    h = &p->sources[i];
    if (health_wants_probe(h, now_ms)) {
        assert_int_equal(probes[i]++, 0);
        assert_true(now_ms >= h->out_until_ms);
        health_probe_begin(h);
    } else if (probes[i] > 0 && chance(4) == 0) {
        probes[i]--;
        health_probe_end(h, chance(2) ? HEALTH_OK : HEALTH_TIMEOUT, now_ms);
    }
    for (i = 0; i < p->count; i++)
        check_source(&p->sources[i], now_ms);
}

/* When everything has healed, every source is back after its cap and one good answer to a probe. */
static void heal(struct pool *p, struct request *requests, const unsigned *probes, int64_t now_ms)
{
    for (size_t i = 0; i < REQUESTS; i++)
        if (requests[i].is_open)
            health_end(&p->sources[requests[i].source], requests[i].was_suspected);
    for (size_t i = 0; i < p->count; i++)
        if (probes[i] > 0)
            health_probe_end(&p->sources[i], HEALTH_OK, now_ms);
    now_ms += HEALTH_WRONG_MS;
    for (size_t i = 0; i < p->count; i++) {
        assert_int_equal(p->sources[i].under_way, 0);
        assert_int_equal(p->sources[i].suspicions, 0);
        if (p->sources[i].is_out) {
            assert_true(health_wants_probe(&p->sources[i], now_ms));
            health_probe_begin(&p->sources[i]);
            health_probe_end(&p->sources[i], HEALTH_OK, now_ms);
        }
        assert_true(health_is_usable(&p->sources[i], now_ms));
    }
    assert_int_equal(order_of(p, "sha256:a", now_ms), p->count);
}

static void random_histories_keep_what_must_always_hold(void **state)
{
    (void)state;
    for (unsigned history = 0; history < HISTORIES; history++) {
        struct pool p;
        struct request requests[REQUESTS] = {{0}};
        unsigned probes[MAX] = {0};
        int64_t now_ms = NOW;
        seed = 0x9e3779b97f4a7c15u + history;
        pool_init(&p, 1 + chance(MAX));
        for (unsigned i = 0; i < STEPS; i++) {
            now_ms += chance(8) == 0 ? chance(40000) : chance(50);
            step(&p, requests, probes, now_ms);
        }
        heal(&p, requests, probes, now_ms);
    }
}

static void assert_reason(const struct health *h, const char *digest, int64_t now_ms,
                          const char *wanted)
{
    assert_string_equal(health_reason(h, "library/demo", digest, now_ms), wanted);
}

static void the_reason_is_told_for_what_is_asked_about(void **state)
{
    struct health h;
    (void)state;
    health_init(&h, false);
    assert_reason(&h, NULL, NOW, "not measured yet");
    health_sign(&h, 5, 20, NOW);
    assert_reason(&h, NULL, NOW, "answers well");
    health_begin(&h);
    health_suspect(&h, NOW + 1);
    assert_reason(&h, NULL, NOW + 1, "gives no sign right now");
    health_end(&h, true);
    health_missed(&h, "library/demo", "sha256:a", NOW);
    assert_reason(&h, "sha256:a", NOW, "did not have it lately");
    assert_reason(&h, "sha256:b", NOW, "answers well");
    health_limited(&h, 10, NOW);
    assert_reason(&h, "sha256:b", NOW, "limits us");
    assert_reason(&h, "sha256:b", NOW + 10000, "answers well");
    int64_t now_ms = NOW + 20000;
    health_failed(&h, HEALTH_ERROR, now_ms);
    assert_reason(&h, "sha256:b", now_ms, "left out after failing");
    now_ms += HEALTH_BACKOFF_MS;
    assert_reason(&h, "sha256:b", now_ms, "failed, waits for a probe");
    health_probe_begin(&h);
    health_probe_end(&h, HEALTH_OK, now_ms);
    assert_reason(&h, "sha256:b", now_ms, "back after failing, on trial");
    health_failed(&h, HEALTH_WRONG, now_ms);
    assert_reason(&h, "sha256:b", now_ms, "sent wrong bytes");
    health_init(&h, true);
    health_sign(&h, 900, 3000, NOW);
    assert_reason(&h, NULL, NOW, "answers, but slowly");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_sources_are_asked_in_the_order_of_preference),
        cmocka_unit_test(a_mirror_that_never_answered_is_tried_by_one_request),
        cmocka_unit_test(a_failure_puts_a_source_behind_all_that_work_and_a_probe_brings_it_back),
        cmocka_unit_test(the_time_out_of_the_way_doubles_up_to_its_cap),
        cmocka_unit_test(failures_of_requests_that_were_under_way_together_count_once),
        cmocka_unit_test(wrong_bytes_are_remembered_longest_and_not_excused_by_right_ones),
        cmocka_unit_test(a_source_that_limits_us_comes_last_until_its_time),
        cmocka_unit_test(what_a_mirror_lacked_is_not_asked_of_it_for_a_while),
        cmocka_unit_test(the_memory_of_what_is_missing_is_bounded_and_keeps_the_newest),
        cmocka_unit_test(speed_counts_before_preference_but_only_in_coarse_steps),
        cmocka_unit_test(the_hedge_delay_follows_what_is_known),
        cmocka_unit_test(who_waits_in_vain_makes_the_others_pass_over_until_a_sign_comes),
        cmocka_unit_test(random_histories_keep_what_must_always_hold),
        cmocka_unit_test(the_reason_is_told_for_what_is_asked_about),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
