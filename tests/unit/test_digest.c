/* SPDX-License-Identifier: Apache-2.0
 * digest: known answers, one spelling a digest, and hashing in pieces equals hashing at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "oci/digest.h"

#define EMPTY_256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC_256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_512                                                                                    \
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"                             \
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static int parse(const char *text, struct digest *out)
{
    return digest_parse(slice_of(text), out);
}

static void assert_prints(const struct digest *d, const char *text)
{
    char printed[DIGEST_TEXT_MAX];
    assert_string_equal(digest_print(d, printed), text);
}

static void what_is_parsed_prints_as_it_was(void **state)
{
    (void)state;
    struct digest d;
    char hex[DIGEST_HEX_MAX];
    assert_int_equal(parse("sha256:" ABC_256, &d), 1);
    assert_int_equal(d.algorithm, DIGEST_SHA256);
    assert_int_equal(digest_bytes(&d), 32);
    assert_int_equal(d.bytes[0], 0xba);
    assert_string_equal(digest_algorithm_name(&d), "sha256");
    assert_string_equal(digest_hex(&d, hex), ABC_256);
    assert_prints(&d, "sha256:" ABC_256);
    assert_int_equal(parse("sha512:" ABC_512, &d), 1);
    assert_int_equal(d.algorithm, DIGEST_SHA512);
    assert_int_equal(digest_bytes(&d), 64);
    assert_string_equal(digest_algorithm_name(&d), "sha512");
    assert_prints(&d, "sha512:" ABC_512);
}

static void malformed_digests_are_refused_and_the_result_untouched(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ":",
        "sha256",
        "sha256:",
        ":" ABC_256,
        "sha256:" ABC_256 "0",
        "sha256:ba7816bf",
        "sha256:BA7816BF8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha256:ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha256: a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "SHA256:" ABC_256,
        "sha256:" ABC_512,
        "sha512:" ABC_256,
        "sha256+:" ABC_256,
        "+sha256:" ABC_256,
        "sha256+-b:" ABC_256,
        "sha256:../../etc/passwd",
        "blake3:a/b",
        "blake3:a:b",
        "a b:c",
        " sha256:" ABC_256,
        "sha256:" ABC_256 " ",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct digest d, before;
        memset(&d, 0x5a, sizeof(d));
        before = d;
        if (parse(bad[i], &d) != -1)
            fail_msg("\"%s\" is not refused", bad[i]);
        assert_memory_equal(&d, &before, sizeof(d));
    }
}

static void a_zero_byte_inside_is_malformed(void **state)
{
    (void)state;
    struct digest d;
    char text[] = "sha256:" ABC_256;
    text[10] = '\0';
    assert_int_equal(digest_parse((struct slice){text, sizeof(text) - 1}, &d), -1);
    char algorithm[] = "bl\0ke3:abc";
    assert_int_equal(digest_parse((struct slice){algorithm, sizeof(algorithm) - 1}, &d), -1);
}

static void well_formed_digests_of_other_algorithms_are_told_apart(void **state)
{
    (void)state;
    struct digest d;
    assert_int_equal(parse("blake3:" ABC_256, &d), 0);
    assert_int_equal(parse("sha384:abc", &d), 0);
    assert_int_equal(parse("md5:900150983cd24fb0d6963f7d28e17f72", &d), 0);
    assert_int_equal(parse("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8", &d),
                     0);
    assert_int_equal(parse("a.b_c-d+e:Zz09=_-", &d), 0);
    assert_int_equal(parse("sha2567:" ABC_256, &d), 0);
}

static void only_the_bytes_of_the_slice_are_read(void **state)
{
    (void)state;
    static const char text[] = "sha256:" ABC_256 "00";
    struct digest d;
    assert_int_equal(digest_parse((struct slice){text, 7 + 64}, &d), 1);
    assert_int_equal(digest_parse((struct slice){text, 7 + 63}, &d), -1);
    assert_int_equal(digest_parse((struct slice){text, 7 + 66}, &d), -1);
}

static void the_parts_of_a_path_make_a_digest(void **state)
{
    (void)state;
    struct digest d;
    assert_true(digest_from_parts(slice_of("sha256"), slice_of(ABC_256), &d));
    assert_prints(&d, "sha256:" ABC_256);
    assert_true(digest_from_parts(slice_of("sha512"), slice_of(ABC_512), &d));
    assert_false(digest_from_parts(slice_of("sha512"), slice_of(ABC_256), &d));
    assert_false(digest_from_parts(slice_of("blake3"), slice_of(ABC_256), &d));
    assert_false(digest_from_parts(slice_of(""), slice_of(""), &d));
    assert_false(digest_from_parts(slice_of("sha256"), slice_of(EMPTY_256 "x"), &d));
    assert_prints(&d, "sha512:" ABC_512);
}

static void equal_digests_are_equal_bytes(void **state)
{
    (void)state;
    struct digest a, b, c;
    memset(&a, 0xff, sizeof(a));
    memset(&b, 0x00, sizeof(b));
    assert_int_equal(parse("sha256:" ABC_256, &a), 1);
    digest_of(DIGEST_SHA256, "abc", 3, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_true(digest_equals(&a, &b));
    assert_int_equal(parse("sha256:" EMPTY_256, &c), 1);
    assert_false(digest_equals(&a, &c));
    c = a;
    c.bytes[31] ^= 1;
    assert_false(digest_equals(&a, &c));
    c = a;
    c.algorithm = DIGEST_SHA512;
    assert_false(digest_equals(&a, &c));
}

static void known_bytes_hash_to_known_digests(void **state)
{
    (void)state;
    struct digest d;
    digest_of(DIGEST_SHA256, "", 0, &d);
    assert_prints(&d, "sha256:" EMPTY_256);
    digest_of(DIGEST_SHA256, NULL, 0, &d);
    assert_prints(&d, "sha256:" EMPTY_256);
    digest_of(DIGEST_SHA256, "abc", 3, &d);
    assert_prints(&d, "sha256:" ABC_256);
    digest_of(DIGEST_SHA512, "abc", 3, &d);
    assert_prints(&d, "sha512:" ABC_512);
}

static void hashing_in_pieces_is_hashing_at_once(void **state)
{
    (void)state;
    uint8_t bytes[3000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t step = 1; step < sizeof(bytes); step = step * 3 + 1) {
        struct digest whole, pieces;
        struct hasher *h = hasher_new(DIGEST_SHA512);
        for (size_t at = 0; at < sizeof(bytes); at += step)
            hasher_update(h, bytes + at, step < sizeof(bytes) - at ? step : sizeof(bytes) - at);
        hasher_update(h, NULL, 0);
        hasher_final(h, &pieces);
        hasher_free(h);
        digest_of(DIGEST_SHA512, bytes, sizeof(bytes), &whole);
        assert_memory_equal(&whole, &pieces, sizeof(whole));
    }
}

static void a_hasher_begins_anew_after_reset(void **state)
{
    (void)state;
    struct digest d;
    struct hasher *h = hasher_new(DIGEST_SHA256);
    hasher_update(h, "something else", 14);
    hasher_reset(h);
    hasher_update(h, "abc", 3);
    memset(&d, 0xff, sizeof(d));
    hasher_final(h, &d);
    assert_prints(&d, "sha256:" ABC_256);
    for (size_t i = 32; i < sizeof(d.bytes); i++)
        assert_int_equal(d.bytes[i], 0);
    hasher_reset(h);
    hasher_final(h, &d);
    assert_prints(&d, "sha256:" EMPTY_256);
    hasher_free(h);
    hasher_free(NULL);
}

static void *hash_many(void *cls)
{
    struct digest d;
    char text[DIGEST_TEXT_MAX];
    bool *is_right = cls;
    *is_right = true;
    for (int i = 0; i < 200; i++) {
        digest_of(i % 2 ? DIGEST_SHA256 : DIGEST_SHA512, "abc", 3, &d);
        const char *wanted = i % 2 ? "sha256:" ABC_256 : "sha512:" ABC_512;
        *is_right = *is_right && strcmp(digest_print(&d, text), wanted) == 0;
    }
    return NULL;
}

static void many_threads_may_hash_at_once(void **state)
{
    (void)state;
    pthread_t threads[8];
    bool is_right[8] = {0};
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hash_many, &is_right[i]), 0);
    for (size_t i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_true(is_right[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_threads_may_hash_at_once), /* first, so that they race to fetch */
        cmocka_unit_test(what_is_parsed_prints_as_it_was),
        cmocka_unit_test(malformed_digests_are_refused_and_the_result_untouched),
        cmocka_unit_test(a_zero_byte_inside_is_malformed),
        cmocka_unit_test(well_formed_digests_of_other_algorithms_are_told_apart),
        cmocka_unit_test(only_the_bytes_of_the_slice_are_read),
        cmocka_unit_test(the_parts_of_a_path_make_a_digest),
        cmocka_unit_test(equal_digests_are_equal_bytes),
        cmocka_unit_test(known_bytes_hash_to_known_digests),
        cmocka_unit_test(hashing_in_pieces_is_hashing_at_once),
        cmocka_unit_test(a_hasher_begins_anew_after_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
