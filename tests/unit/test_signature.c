/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/error.h"
#include "oci/signature.h"

static const char text[] = "what is signed";

struct pair {
    char *private, *public;
};

static int make_pair(void **state)
{
    static struct pair p;
    struct error e = {0};
    assert_int_equal(signature_generate(&p.private, &p.public, &e), 0);
    *state = &p;
    return 0;
}

static int free_pair(void **state)
{
    struct pair *p = *state;
    free(p->private);
    free(p->public);
    return 0;
}

static void what_was_signed_is_good_by_its_key_and_no_other(void **state)
{
    struct pair *p = *state;
    struct error e = {0};
    uint8_t made[SIGNATURE_BYTES];
    autofree char *private = NULL, *public = NULL;
    assert_int_equal(signature_generate(&private, &public, &e), 0);
    assert_int_equal(signature_make(slice_of(p->private), text, sizeof text, made, &e), 0);
    assert_int_equal(signature_check(slice_of(p->public), text, sizeof text, made, &e), 1);
    assert_int_equal(signature_check(slice_of(public), text, sizeof text, made, &e), 0);
}

static void no_bit_of_text_or_signature_can_change(void **state)
{
    struct pair *p = *state;
    struct error e = {0};
    uint8_t made[SIGNATURE_BYTES];
    char changed[sizeof text];
    memcpy(changed, text, sizeof text);
    assert_int_equal(signature_make(slice_of(p->private), text, sizeof text, made, &e), 0);
    for (size_t bit = 0; bit < sizeof made * 8; bit++) {
        made[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(signature_check(slice_of(p->public), text, sizeof text, made, &e), 0);
        made[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < sizeof text * 8; bit++) {
        changed[bit / 8] ^= (char)(1u << bit % 8);
        assert_int_equal(signature_check(slice_of(p->public), changed, sizeof text, made, &e), 0);
        changed[bit / 8] ^= (char)(1u << bit % 8);
    }
    assert_int_equal(signature_check(slice_of(p->public), text, sizeof text - 1, made, &e), 0);
}

static void the_vector_of_the_rfc_is_good(void **state)
{
    (void)state; /* RFC 8032 §7.1, TEST 2: the message 0x72 */
    static const char public[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n"
                                 "-----END PUBLIC KEY-----\n";
    static const uint8_t signature[SIGNATURE_BYTES] = {
        0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8, 0x72, 0x0e, 0x82, 0x0b, 0x5f,
        0x64, 0x25, 0x40, 0xa2, 0xb2, 0x7b, 0x54, 0x16, 0x50, 0x3f, 0x8f, 0xb3, 0x76,
        0x22, 0x23, 0xeb, 0xdb, 0x69, 0xda, 0x08, 0x5a, 0xc1, 0xe4, 0x3e, 0x15, 0x99,
        0x6e, 0x45, 0x8f, 0x36, 0x13, 0xd0, 0xf1, 0x1d, 0x8c, 0x38, 0x7b, 0x2e, 0xae,
        0xb4, 0x30, 0x2a, 0xee, 0xb0, 0x0d, 0x29, 0x16, 0x12, 0xbb, 0x0c, 0x00};
    struct error e = {0};
    assert_int_equal(signature_check(slice_of(public), "\x72", 1, signature, &e), 1);
}

static void what_is_no_key_of_this_kind_is_told_as_such(void **state)
{
    struct pair *p = *state;
    struct error e = {0};
    uint8_t made[SIGNATURE_BYTES] = {0};
    assert_int_equal(signature_make(slice_of("rubbish"), text, 1, made, &e), -1);
    assert_int_equal(e.kind, ERR_USAGE);
    assert_int_equal(signature_make(slice_of(p->public), text, 1, made, &e), -1);
    assert_int_equal(signature_check(slice_of(""), text, 1, made, &e), -1);
    assert_int_equal(signature_check(slice_of(p->private), text, 1, made, &e), -1);
    assert_int_equal(e.kind, ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_signed_is_good_by_its_key_and_no_other),
        cmocka_unit_test(no_bit_of_text_or_signature_can_change),
        cmocka_unit_test(the_vector_of_the_rfc_is_good),
        cmocka_unit_test(what_is_no_key_of_this_kind_is_told_as_such),
    };
    return cmocka_run_group_tests(tests, make_pair, free_pair);
}
