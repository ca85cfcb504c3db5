/* SPDX-License-Identifier: Apache-2.0
 * volumes: what goes where. That every plan is whole and keeps to its size, the fuzz target tells.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "bundle/contents.h"
#include "bundle/volumes.h"

#define MIB ((uint64_t)1 << 20)

static void add(struct contents *c, uint64_t size_bytes)
{
    struct digest d;
    size_t n = c->blobs.digests.count;
    digest_of(DIGEST_SHA256, &n, sizeof n, &d);
    blob_list_add(&c->blobs, &d, size_bytes);
}

static void without_a_size_there_is_one_volume_of_whole_blobs(void **state)
{
    (void)state;
    autocontents struct contents c = {0};
    autovolumes struct volumes v = {0};
    struct error e = {0};
    for (unsigned i = 0; i < 100; i++)
        add(&c, (uint64_t)i << 34);
    assert_int_equal(volumes_plan(&c, 1000, &v, &e), 0);
    assert_int_equal(v.count, 1);
    assert_int_equal(v.ends[0], 100);
    for (size_t i = 0; i < 100; i++)
        assert_true(v.pieces[i].is_whole);
}

static void a_blob_is_cut_only_if_no_volume_could_hold_it(void **state)
{
    (void)state;
    autocontents struct contents c = {.volume_bytes = 10 * MIB};
    autovolumes struct volumes v = {0};
    struct error e = {0};
    add(&c, 6 * MIB);
    add(&c, 6 * MIB);  /* into the second, whole */
    add(&c, 25 * MIB); /* fills the second, two more, and a bit */
    assert_int_equal(volumes_plan(&c, 1000, &v, &e), 0);
    assert_int_equal(v.count, 5);
    assert_int_equal(v.ends[0], 1);
    assert_true(v.pieces[0].is_whole && v.pieces[1].is_whole);
    assert_int_equal(v.pieces[2].blob, 2);
    assert_false(v.pieces[2].is_whole);
    assert_in_range(v.pieces[2].length_bytes, 3 * MIB, 4 * MIB);
    assert_int_equal(v.pieces[2].length_bytes % 512, 0);
}

static void no_blob_at_all_is_one_volume(void **state)
{
    (void)state;
    autocontents struct contents c = {.volume_bytes = 10 * MIB};
    autovolumes struct volumes v = {0};
    struct error e = {0};
    assert_int_equal(volumes_plan(&c, 1000, &v, &e), 0);
    assert_int_equal(v.count, 1);
    assert_int_equal(v.ends[0], 0);
}

static void a_size_without_room_and_too_many_volumes_are_refused(void **state)
{
    (void)state;
    autocontents struct contents c = {.volume_bytes = 1000};
    struct volumes v = {0};
    struct error e = {0};
    assert_int_equal(volumes_plan(&c, 1000, &v, &e), -1);
    assert_int_equal(e.kind, ERR_USAGE);
    c.volume_bytes = 2 * MIB;
    add(&c, BLOB_MAX_BYTES);
    assert_int_equal(volumes_plan(&c, 1000, &v, &e), -1);
    assert_null(v.pieces);
}

static void names_of_pieces_tell_blob_and_offset(void **state)
{
    (void)state;
    autocontents struct contents c = {0};
    char name[MEMBER_NAME_MAX], text[32];
    add(&c, 1);
    struct piece p = {.offset = 512};
    assert_string_equal(piece_name(&c, &p, name),
                        "tranship/pieces/sha256/"
                        "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc/512");
    p = (struct piece){.is_whole = true};
    assert_string_equal(piece_name(&c, &p, name),
                        "blobs/sha256/"
                        "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
    assert_string_equal(volume_text(2, 12, text), "3 of 12\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_size_there_is_one_volume_of_whole_blobs),
        cmocka_unit_test(a_blob_is_cut_only_if_no_volume_could_hold_it),
        cmocka_unit_test(no_blob_at_all_is_one_volume),
        cmocka_unit_test(a_size_without_room_and_too_many_volumes_are_refused),
        cmocka_unit_test(names_of_pieces_tell_blob_and_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
