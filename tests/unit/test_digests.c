/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "oci/digests.h"

static struct digest number(uint32_t n)
{
    struct digest d;
    digest_of(n % 3 ? DIGEST_SHA256 : DIGEST_SHA512, &n, sizeof n, &d);
    return d;
}

static void each_is_kept_once_in_the_order_of_adding(void **state)
{
    (void)state;
    autodigests struct digests s = {0};
    enum { COUNT = 20000 };
    for (int turn = 0; turn < 2; turn++)
        for (uint32_t i = 0; i < COUNT; i++) {
            size_t at = 0;
            struct digest d = number(i);
            assert_int_equal(digests_add(&s, &d, &at), turn == 0);
            assert_int_equal(at, i);
        }
    assert_int_equal(s.count, COUNT);
    for (uint32_t i = 0; i < 2 * COUNT; i++) {
        struct digest d = number(i);
        assert_int_equal(digests_find(&s, &d), i < COUNT ? i : DIGESTS_NONE);
    }
}

static void an_empty_set_has_nothing(void **state)
{
    (void)state;
    autodigests struct digests s = {0};
    struct digest d = number(1);
    assert_false(digests_has(&s, &d));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_kept_once_in_the_order_of_adding),
        cmocka_unit_test(an_empty_set_has_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
