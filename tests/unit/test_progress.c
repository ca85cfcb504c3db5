/* SPDX-License-Identifier: Apache-2.0
 * progress: the screen of a pull. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/str.h"
#include "bundle/bring.h"
#include "cli/progress.h"

#define MIB (1024u * 1024u)
#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct bring_image image = {
    .name = {.registry = "docker.io", .repository = "library/alpine", .tag = "3.20"}};

static struct bring_layer layer(int64_t size, uint64_t present, uint64_t rate)
{
    struct bring_layer l = {
        .image = &image, .size_bytes = size, .present_bytes = present, .bytes_per_s = rate};
    assert_int_equal(digest_parse(slice_of("sha256:" HEX), &l.digest), 1);
    return l;
}

static void expect(const struct bring_look *l, unsigned columns, unsigned rows, const char *wanted)
{
    autostr struct str out = {0};
    unsigned lines = 0;
    unsigned told = progress_render(l, columns, rows, &out);
    assert_string_equal(str_text(&out), wanted);
    for (const char *at = str_text(&out); (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(told, lines);
}

static void a_layer_has_a_bar_its_bytes_its_rate_and_the_time_left(void **state)
{
    (void)state;
    struct bring_layer l = layer(40 * MIB, 10 * MIB, 2 * MIB);
    const struct bring_look look = {.layers = &l,
                                    .layer_count = 1,
                                    .image_count = 2,
                                    .images_done = 1,
                                    .blobs_done = 3,
                                    .blob_count = 7,
                                    .came_bytes = 5 * MIB,
                                    .held_bytes = MIB};
    expect(&look, 120, 24,
           "library/alpine:3.20                  0123456789ab [======>                 ] "
           "10.0 MiB of 40.0 MiB, 2.0 MiB/s, 15s left\n"
           "1 of 2 images, 3 of 7 blobs: 15.0 MiB came, 1.0 MiB held\n");
}

static void of_a_layer_of_unknown_size_there_is_what_came(void **state)
{
    (void)state;
    struct bring_layer l = layer(-1, 3 * MIB, 0);
    const struct bring_look look = {.layers = &l, .layer_count = 1, .image_count = 1};
    expect(&look, 70, 24,
           "library/alpine:3.20     0123456789ab 3.0 MiB\n"
           "0 of 1 images, 0 of 0 blobs: 3.0 MiB came, 0 B held\n");
}

static void a_layer_that_is_there_is_full_and_never_more_than_that(void **state)
{
    (void)state;
    struct bring_layer l = layer(MIB, 2 * MIB, MIB);
    const struct bring_look look = {.layers = &l, .layer_count = 1, .image_count = 1};
    autostr struct str out = {0};
    progress_render(&look, 80, 24, &out);
    assert_non_null(strstr(str_text(&out), "[============] "));
    assert_null(strstr(str_text(&out), "left"));
}

static void no_line_is_as_wide_as_the_terminal_and_no_more_rows_are_drawn(void **state)
{
    (void)state;
    struct bring_layer all[16];
    for (size_t i = 0; i < 16; i++)
        all[i] = layer(40 * MIB, i * MIB, MIB);
    const struct bring_look look = {.layers = all, .layer_count = 16, .image_count = 16};
    for (unsigned columns = 0; columns < 200; columns++)
        for (unsigned rows = 0; rows < 30; rows++) {
            autostr struct str out = {0};
            unsigned lines = progress_render(&look, columns, rows, &out);
            assert_true(lines <= (rows < 2 ? 2 : rows));
            for (const char *at = str_text(&out); *at; at = strchr(at, '\n') + 1)
                assert_true(strcspn(at, "\n") < (columns < 40 ? 40 : columns));
        }
}

static void a_long_name_keeps_its_end(void **state)
{
    (void)state;
    struct bring_image own = {.name = {.registry = "ghcr.io", .tag = "v1.2.3"}};
    struct bring_layer l = layer(MIB, 0, 0);
    memset(own.name.repository, 'a', 200);
    l.image = &own;
    const struct bring_look look = {.layers = &l, .layer_count = 1, .image_count = 1};
    autostr struct str out = {0};
    progress_render(&look, 120, 24, &out);
    assert_memory_equal(str_text(&out), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa:v1.2.3 0123456789ab", 49);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_has_a_bar_its_bytes_its_rate_and_the_time_left),
        cmocka_unit_test(of_a_layer_of_unknown_size_there_is_what_came),
        cmocka_unit_test(a_layer_that_is_there_is_full_and_never_more_than_that),
        cmocka_unit_test(no_line_is_as_wide_as_the_terminal_and_no_more_rows_are_drawn),
        cmocka_unit_test(a_long_name_keeps_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
