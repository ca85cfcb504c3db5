/* SPDX-License-Identifier: Apache-2.0
 * tar: libarchive reads what we write, and the bytes never change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "bundle/tar.h"
#include "oci/digest.h"

static void check_read(const char *name, uint64_t size_bytes)
{
    autostr struct str header = {0};
    struct archive_entry *entry = NULL;
    tar_add_header(&header, name, size_bytes);
    assert_int_equal(header.length % TAR_BLOCK, 0);
    assert_int_equal(tar_member_bytes(name, size_bytes),
                     header.length + size_bytes + tar_padding(size_bytes));
    struct archive *a = archive_read_new();
    archive_read_support_format_tar(a);
    assert_int_equal(archive_read_open_memory(a, header.text, header.length), ARCHIVE_OK);
    assert_int_equal(archive_read_next_header(a, &entry), ARCHIVE_OK);
    assert_string_equal(archive_entry_pathname(entry), name);
    assert_int_equal(archive_entry_size(entry), size_bytes);
    assert_int_equal(archive_entry_filetype(entry), AE_IFREG);
    assert_int_equal(archive_entry_mode(entry) & 07777, 0644);
    archive_read_free(a);
}

static void names_and_sizes_of_every_length_are_read_back(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {
        0, 1, 511, 512, 513, UINT64_C(077777777777), UINT64_C(077777777777) + 1, UINT64_C(1) << 50};
    char name[256];
    for (size_t length = 1; length < sizeof name; length++) {
        memset(name, 'n', length);
        name[length] = 0;
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            check_read(name, sizes[i]);
    }
}

static void the_bytes_are_those_of_the_first_bundle_ever_written(void **state)
{
    (void)state;
    char name[161], text[DIGEST_TEXT_MAX];
    struct digest d;
    autostr struct str all = {0};
    memset(name, 'n', 160);
    name[160] = 0;
    tar_add_header(&all, "tranship/bundle.json", 1234);
    tar_add_header(&all, name, UINT64_C(1) << 34);
    digest_of(DIGEST_SHA256, all.text, all.length, &d);
    assert_string_equal(digest_print(&d, text),
                        "sha256:929025b31ded0862b65956481f7b1f74071875862bf79709b65c2cc2573936bb");
}

static void padding_fills_the_last_block(void **state)
{
    (void)state;
    assert_int_equal(tar_padding(0), 0);
    assert_int_equal(tar_padding(1), 511);
    assert_int_equal(tar_padding(512), 0);
    assert_int_equal(tar_padding(UINT64_MAX), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_sizes_of_every_length_are_read_back),
        cmocka_unit_test(the_bytes_are_those_of_the_first_bundle_ever_written),
        cmocka_unit_test(padding_fills_the_last_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
