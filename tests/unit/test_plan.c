/* SPDX-License-Identifier: Apache-2.0
 * Who brings which part: single decisions, and thousands of random lives of a blob, in which each
 * byte comes once and all of them come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fetch/plan.h"

enum { SIZE_MAX_BYTES = 400, LIVES = 20000, STEPS_MAX = 20000 };

struct model {
    uint64_t size;
    unsigned char brought[SIZE_MAX_BYTES]; /* how often */
    struct plan plan;
    struct part parts[PLAN_PARTS_MAX];
    bool is_used[PLAN_PARTS_MAX];
    uint64_t seed;
    bool has_fixed; /* in this life one source knows no ranges, and brings what others bring too */
};

static unsigned dice(struct model *m, unsigned below)
{
    m->seed = m->seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(m->seed >> 33) % below;
}

static bool hole(void *cls, uint64_t from, uint64_t *at, uint64_t *length)
{
    const struct model *m = cls;
    uint64_t i = from;
    while (i < m->size && m->brought[i])
        i++;
    if (i >= m->size)
        return false;
    *at = i;
    while (i < m->size && !m->brought[i])
        i++;
    *length = i - *at;
    return true;
}

static void model_init(struct model *m, uint64_t size, uint64_t seed)
{
    memset(m, 0, sizeof *m);
    m->size = size;
    m->seed = seed;
    m->plan = (struct plan){.hole = hole, .cls = m, .size = size};
}

static struct part *begin(struct model *m, uint64_t first, uint64_t end, bool is_fixed)
{
    size_t i = 0;
    while (m->is_used[i])
        i++;
    m->is_used[i] = true;
    uint64_t asked = is_fixed ? UINT64_MAX : end;
    m->parts[i] = (struct part){first, asked, asked, (int)dice(m, 3), is_fixed};
    plan_add(&m->plan, &m->parts[i]);
    return &m->parts[i];
}

static void finish(struct model *m, struct part *x)
{
    plan_remove(&m->plan, x);
    m->is_used[x - m->parts] = false;
}

static void bring(struct model *m, struct part *x, uint64_t count)
{
    uint64_t end = x->end < m->size ? x->end : m->size;
    for (; count > 0 && x->at < end; count--, x->at++) {
        if (!m->has_fixed || !m->brought[x->at])
            m->brought[x->at]++;
    }
}

static bool is_done(const struct model *m)
{
    uint64_t at, length;
    return !m->plan.hole((void *)(uintptr_t)m, 0, &at, &length);
}

static void check(struct model *m)
{
    for (uint64_t i = 0; i < m->size; i++) {
        unsigned claims = 0, brought = m->has_fixed ? 0 : m->brought[i];
        for (size_t k = 0; k < m->plan.count; k++) {
            const struct part *x = m->plan.parts[k];
            claims += !x->is_fixed && x->at <= i && i < x->end;
        }
        assert_true(claims + brought <= 1);
    }
    for (size_t k = 0; k < m->plan.count; k++)
        assert_true(m->plan.parts[k]->end <= m->plan.parts[k]->asked_end);
}

static void take_a_turn(struct model *m)
{
    uint64_t first, end;
    unsigned what = dice(m, 10);
    bool has_room = m->plan.count < 8;
    if (what < 2 && has_room && plan_next(&m->plan, 1 + dice(m, 20), &first, &end)) {
        begin(m, first, end, m->has_fixed && first == 0);
    } else if (what == 2 && has_room) {
        first = dice(m, (unsigned)m->size);
        if (plan_take(&m->plan, first, dice(m, 10), &end)) {
            assert_true(first < end && end <= m->size);
            begin(m, first, end, false);
        }
    } else if (m->plan.count > 0) {
        struct part *x = m->plan.parts[dice(m, (unsigned)m->plan.count)];
        bring(m, x, 1 + dice(m, 30));
        if (x->at >= x->end || x->at >= m->size || what == 9)
            finish(m, x); /* it came to its end; or broke */
    }
}

static void every_random_life_brings_each_byte_once(void **state)
{
    (void)state;
    for (uint64_t life = 1; life <= LIVES; life++) {
        struct model m;
        model_init(&m, 1 + life % SIZE_MAX_BYTES, life);
        m.has_fixed = life % 4 == 0;
        for (uint64_t i = 0; i < m.size && life % 3 == 0; i++)
            m.brought[i] = dice(&m, 7) == 0; /* left by an earlier process */
        for (unsigned step = 0; !is_done(&m); step++) {
            assert_true(step < STEPS_MAX);
            take_a_turn(&m);
            check(&m);
        }
        for (uint64_t i = 0; i < m.size; i++)
            assert_int_equal(m.brought[i], 1);
    }
}

static void half_of_the_largest_part_is_taken_from_its_far_side(void **state)
{
    struct model m;
    uint64_t first, end;
    (void)state;
    model_init(&m, 400, 1);
    struct part *small = begin(&m, 0, 100, false), *large = begin(&m, 100, 400, false);
    assert_true(plan_split(&m.plan, 10, &first, &end));
    assert_int_equal(first, 250);
    assert_int_equal(end, 400);
    assert_int_equal(large->end, 250);
    assert_int_equal(small->end, 100);
    assert_false(plan_split(&m.plan, 76, &first, &end));
}

static void what_a_broken_part_leaves_goes_to_whoever_was_asked_for_it(void **state)
{
    struct model m;
    uint64_t first, end;
    (void)state;
    model_init(&m, 400, 1);
    struct part *main = begin(&m, 0, UINT64_MAX, false);
    assert_true(plan_split(&m.plan, 10, &first, &end));
    struct part *lane = begin(&m, first, end, false);
    bring(&m, lane, 50);
    finish(&m, lane);
    assert_int_equal(main->end, 200); /* what came stays: its request is of no use past that */
    assert_true(plan_gap(&m.plan, &first, &end));
    assert_int_equal(first, 250);
    lane = begin(&m, first, end, false);
    finish(&m, lane);
    assert_int_equal(main->end, 200);
}

static void an_end_that_was_open_is_open_again(void **state)
{
    struct model m;
    uint64_t first, end;
    (void)state;
    model_init(&m, 400, 1);
    struct part *main = begin(&m, 0, UINT64_MAX, false);
    assert_true(plan_split(&m.plan, 10, &first, &end));
    assert_int_equal(main->end, 200);
    finish(&m, begin(&m, first, end, false));
    assert_true(main->end == UINT64_MAX);
}

static void a_source_without_ranges_keeps_its_one_stream(void **state)
{
    struct model m;
    uint64_t first, end;
    (void)state;
    model_init(&m, 400, 1);
    begin(&m, 0, UINT64_MAX, true);
    assert_false(plan_next(&m.plan, 10, &first, &end));
    assert_false(plan_take(&m.plan, 300, 10, &end));
}

static void what_is_about_to_come_is_not_taken_and_what_is_far_is(void **state)
{
    struct model m;
    uint64_t end;
    (void)state;
    model_init(&m, 400, 1);
    struct part *main = begin(&m, 0, UINT64_MAX, false);
    assert_false(plan_take(&m.plan, 40, 40, &end));
    assert_true(plan_take(&m.plan, 41, 40, &end));
    assert_int_equal(end, 400);
    assert_int_equal(main->end, 41);
    m.brought[399] = 1;
    assert_false(plan_take(&m.plan, 399, 0, &end));
}

static void while_no_size_is_known_there_is_one_part(void **state)
{
    struct model m;
    uint64_t first, end;
    (void)state;
    model_init(&m, 400, 1);
    m.plan.size = UINT64_MAX;
    begin(&m, 0, UINT64_MAX, false);
    assert_false(plan_next(&m.plan, 10, &first, &end));
}

static void the_source_with_the_fewest_transfers_is_next_and_the_better_among_equals(void **state)
{
    struct model m;
    const int order[] = {2, 0, 1};
    (void)state;
    model_init(&m, 400, 1);
    assert_int_equal(plan_source(&m.plan, order, 3, 2), 2);
    begin(&m, 0, 100, false)->source = 2;
    assert_int_equal(plan_source(&m.plan, order, 3, 2), 0);
    begin(&m, 100, 200, false)->source = 0;
    begin(&m, 200, 300, false)->source = 1;
    assert_int_equal(plan_source(&m.plan, order, 3, 2), 2);
    assert_int_equal(plan_source(&m.plan, order, 3, 1), PLAN_NOBODY);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_random_life_brings_each_byte_once),
        TEST(half_of_the_largest_part_is_taken_from_its_far_side),
        TEST(what_a_broken_part_leaves_goes_to_whoever_was_asked_for_it),
        TEST(an_end_that_was_open_is_open_again),
        TEST(a_source_without_ranges_keeps_its_one_stream),
        TEST(what_is_about_to_come_is_not_taken_and_what_is_far_is),
        TEST(while_no_size_is_known_there_is_one_part),
        TEST(the_source_with_the_fewest_transfers_is_next_and_the_better_among_equals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
