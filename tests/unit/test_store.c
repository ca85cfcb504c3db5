/* SPDX-License-Identifier: Apache-2.0
 * The data folder: what a name under blobs/ promises, and what start-up makes of what a kill left
 * behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "data_folder.h"

/* --- opening ---------------------------------------------------------------------------------- */

static void fresh_folder_has_the_layout_that_other_tools_read(void **state)
{
    struct data_folder *f = *state;
    char path[400], text[400];
    assert_true(path_exists(folder_path_of(f, "blobs/sha256", path)));
    assert_true(path_exists(folder_path_of(f, "blobs/sha512", path)));
    assert_true(path_exists(folder_path_of(f, "ingest", path)));
    assert_string_equal(read_text(folder_path_of(f, "oci-layout", path), text),
                        "{\"imageLayoutVersion\":\"1.0.0\"}");
    assert_string_equal(store_path(f->store), f->path);
    assert_int_equal(faccessat(store_folder(f->store), "ingest", F_OK, 0), 0);
}

static void folder_can_be_opened_again_once_closed(void **state)
{
    struct data_folder *f = *state;
    uint64_t size = 0;
    struct digest d = digest_of_text("kept");
    hold_text(f, "kept");
    folder_close_store(f);
    folder_open_store(f);
    assert_int_equal(store_has(f->store, &d, &size), 1);
    assert_int_equal(size, 4);
}

static void folder_in_use_is_busy_and_named(void **state)
{
    struct data_folder *f = *state;
    struct error e = {0};
    assert_null(store_open(f->path, &e));
    assert_int_equal(e.kind, ERR_BUSY);
    assert_non_null(strstr(e.text, f->path));
    assert_non_null(strstr(e.text, "is in use by another tranship"));
}

static void folder_that_cannot_be_made_is_named(void **state)
{
    struct data_folder *f = *state;
    char path[400];
    struct error e = {0};
    assert_null(store_open(folder_path_of(f, "oci-layout/below", path), &e));
    assert_int_equal(e.kind, ERR_IO);
    assert_non_null(strstr(e.text, path));
}

static void folder_whose_ingest_is_a_file_is_refused(void **state)
{
    struct data_folder *f = *state;
    char path[400];
    struct error e = {0};
    folder_close_store(f);
    folder_path_of(f, "ingest", path);
    assert_int_equal(rmdir(path), 0);
    write_file(path, "no folder");
    assert_null(store_open(f->path, &e));
    assert_int_equal(e.kind, ERR_IO);
    assert_non_null(strstr(e.text, f->path));
    assert_non_null(strstr(e.text, "ingest"));
}

/* --- held blobs ------------------------------------------------------------------------------- */

static void missing_blob_is_not_found_and_size_is_untouched(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("nobody has this");
    uint64_t size = 77;
    int fd = -5;
    assert_int_equal(store_get(f->store, &d, &fd, &size, NULL), 0);
    assert_int_equal(store_has(f->store, &d, &size), 0);
    assert_int_equal(size, 77);
    assert_int_equal(fd, -5);
}

static void held_blob_is_handed_out_read_only(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("content");
    char bytes[16] = "";
    uint64_t size = 0;
    int fd = -1;
    hold_text(f, "content");
    assert_int_equal(store_get(f->store, &d, &fd, &size, NULL), 1);
    assert_int_equal(size, 7);
    assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), 7);
    assert_memory_equal(bytes, "content", 7);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    close(fd);
}

static void expect_no_regular_file(struct data_folder *f, const struct digest *d)
{
    struct error e = {0};
    uint64_t size = 77;
    int fd = -1;
    assert_int_equal(store_get(f->store, d, &fd, &size, &e), -1);
    assert_int_equal(e.kind, ERR_CORRUPT);
    assert_int_equal(store_has(f->store, d, &size), 0);
    assert_int_equal(size, 77);
}

static void link_pipe_or_folder_under_a_blobs_name_is_never_served(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("disguised");
    char path[400];
    blob_path(f, &d, path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    expect_no_regular_file(f, &d);
    assert_int_equal(unlink(path), 0);

    assert_int_equal(mkfifo(path, 0644), 0);
    expect_no_regular_file(f, &d);
    assert_int_equal(unlink(path), 0);

    assert_int_equal(mkdir(path, 0755), 0);
    expect_no_regular_file(f, &d);
    assert_int_equal(rmdir(path), 0);
}

static void removed_blob_is_gone_and_removing_it_again_says_absent(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("short-lived");
    hold_text(f, "short-lived");
    assert_int_equal(store_remove(f->store, &d, NULL), 1);
    assert_int_equal(store_has(f->store, &d, NULL), 0);
    assert_int_equal(store_remove(f->store, &d, NULL), 0);
    assert_int_equal(store_sync(f->store, NULL), 0);
}

/* --- on its way in, publishing ---------------------------------------------------------------- */

/* A partial with that text in it and a map. */
static int make_partial(struct data_folder *f, const struct digest *d, const char *text)
{
    struct error e = {0};
    int fd = store_partial_open(f->store, d, &e);
    if (fd < 0)
        fail_msg("%s", e.text);
    assert_int_equal(pwrite(fd, text, strlen(text), 0), strlen(text));
    assert_int_equal(store_partial_write_map(f->store, d, "map", 3, NULL), 0);
    return fd;
}

static void published_partial_is_held_with_its_bytes_and_leaves_nothing_in_ingest(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("whole");
    char path[400], text[400];
    struct stat st;
    mode_t before = umask(077);
    int fd = make_partial(f, &d, "whole");
    assert_int_equal(store_publish(f->store, &d, fd, NULL), 0);
    assert_int_equal(store_sync(f->store, NULL), 0);
    umask(before);
    assert_string_equal(read_text(blob_path(f, &d, path), text), "whole");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(count_names(f, "ingest"), 0);
    close(fd);
}

static void publishing_the_same_file_twice_is_fine(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("whole");
    int fd = make_partial(f, &d, "whole");
    assert_int_equal(store_publish(f->store, &d, fd, NULL), 0);
    assert_int_equal(store_publish(f->store, &d, fd, NULL), 0);
    assert_int_equal(store_has(f->store, &d, NULL), 1);
    close(fd);
}

static void publishing_what_is_held_replaces_it(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("true");
    char path[400], text[400];
    write_file(blob_path(f, &d, path), "rotten");
    int fd = make_partial(f, &d, "true");
    assert_int_equal(store_publish(f->store, &d, fd, NULL), 0);
    assert_string_equal(read_text(path, text), "true");
    close(fd);
}

static void partial_that_was_replaced_by_another_file_is_never_published(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("verified");
    struct error e = {0};
    int verified = make_partial(f, &d, "verified");
    store_partial_remove(f->store, &d);
    int other = make_partial(f, &d, "still com");
    assert_int_equal(store_publish(f->store, &d, verified, &e), -1);
    assert_int_equal(e.kind, ERR_IO);
    assert_int_equal(store_has(f->store, &d, NULL), 0);
    close(verified);
    close(other);
}

static void failed_publish_names_the_digest_and_forgets_the_map(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("blocked");
    struct error e = {0};
    char digest[DIGEST_TEXT_MAX], *map = NULL;
    size_t length = 0;
    block_name(f, &d);
    int fd = make_partial(f, &d, "blocked");
    assert_int_equal(store_publish(f->store, &d, fd, &e), -1);
    assert_non_null(strstr(e.text, digest_print(&d, digest)));
    assert_int_equal(store_partial_read_map(f->store, &d, &map, &length, NULL), 0);
    close(fd);
}

static void bytes_are_published_whole_and_leave_nothing_in_ingest(void **state)
{
    struct data_folder *f = *state;
    char path[400], text[400];
    struct digest d, long_one;
    digest_of(DIGEST_SHA512, "manifest", 8, &long_one);
    d = digest_of_text("manifest");
    assert_int_equal(store_publish_bytes(f->store, &d, "manifest", 8, NULL), 0);
    assert_int_equal(store_publish_bytes(f->store, &long_one, "manifest", 8, NULL), 0);
    assert_int_equal(store_publish_bytes(f->store, &d, "manifest", 8, NULL), 0);
    assert_int_equal(store_sync(f->store, NULL), 0);
    assert_string_equal(read_text(blob_path(f, &d, path), text), "manifest");
    assert_string_equal(read_text(blob_path(f, &long_one, path), text), "manifest");
    assert_int_equal(count_names(f, "ingest"), 0);
    assert_int_equal(count_names(f, "blobs/sha256"), 1);
    assert_int_equal(count_names(f, "blobs/sha512"), 1);
}

static void bytes_do_not_disturb_a_partial_of_the_same_digest(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("manifest");
    char path[400], text[400];
    int fd = make_partial(f, &d, "mani");
    assert_int_equal(store_publish_bytes(f->store, &d, "manifest", 8, NULL), 0);
    assert_string_equal(read_text(partial_path(f, &d, "", path), text), "mani");
    close(fd);
}

static void bytes_that_cannot_be_published_leave_no_temporary(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("blocked");
    block_name(f, &d);
    assert_int_equal(store_publish_bytes(f->store, &d, "blocked", 7, NULL), -1);
    assert_int_equal(count_names(f, "ingest"), 0);
}

static void partial_keeps_its_bytes_when_opened_again(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("half");
    char bytes[8] = "";
    close(make_partial(f, &d, "ha"));
    int fd = store_partial_open(f->store, &d, NULL);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), 2);
    assert_memory_equal(bytes, "ha", 2);
    close(fd);
    store_partial_remove(f->store, &d);
    store_partial_remove(f->store, &d);
    assert_int_equal(count_names(f, "ingest"), 0);
}

static void link_in_place_of_a_partial_is_not_followed(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("trap");
    struct error e = {0};
    char path[400], target[400];
    write_file(folder_path_of(f, "precious", target), "precious");
    assert_int_equal(symlink(target, partial_path(f, &d, "", path)), 0);
    assert_int_equal(store_partial_open(f->store, &d, &e), -1);
    assert_non_null(strstr(e.text, path));
}

static void map_is_replaced_as_a_whole(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("mapped");
    char path[400], bytes[16] = "", *map = NULL;
    size_t length = 0;
    assert_int_equal(store_partial_read_map(f->store, &d, &map, &length, NULL), 0);
    assert_null(map);
    assert_int_equal(store_partial_write_map(f->store, &d, "0 5\n", 4, NULL), 0);
    int old = open(partial_path(f, &d, ".map", path), O_RDONLY);
    assert_true(old >= 0);
    assert_int_equal(store_partial_write_map(f->store, &d, "0 9\n12 20\n", 10, NULL), 0);
    assert_int_equal(read(old, bytes, sizeof(bytes)), 4); /* who reads the old one reads it all */
    assert_memory_equal(bytes, "0 5\n", 4);
    close(old);
    assert_int_equal(store_partial_read_map(f->store, &d, &map, &length, NULL), 1);
    assert_int_equal(length, 10);
    assert_string_equal(map, "0 9\n12 20\n");
    free(map);
    assert_int_equal(count_names(f, "ingest"), 1);
}

static void map_above_its_limit_is_refused(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("mapped");
    struct error e = {0};
    char path[400], *map = NULL;
    size_t length = 0;
    write_file(partial_path(f, &d, ".map", path), "x");
    assert_int_equal(truncate(path, 1024 * 1024 + 1), 0);
    assert_int_equal(store_partial_read_map(f->store, &d, &map, &length, &e), -1);
    assert_int_equal(e.kind, ERR_CORRUPT);
    assert_null(map);
}

/* --- walking ---------------------------------------------------------------------------------- */

struct walked {
    unsigned count;
    uint64_t bytes;
    unsigned stop_after;
};

static int walk_one(const struct digest *d, uint64_t size_bytes, void *cls)
{
    struct walked *w = cls;
    assert_true(d->algorithm == DIGEST_SHA256 || d->algorithm == DIGEST_SHA512);
    w->count++;
    w->bytes += size_bytes;
    return w->count == w->stop_after ? -1 : 0;
}

static int list_one(const struct digest *d, void *cls)
{
    return walk_one(d, 0, cls);
}

static void walk_visits_blobs_and_skips_whatever_is_none(void **state)
{
    struct data_folder *f = *state;
    struct digest d, link = digest_of_text("link"), folder = digest_of_text("folder");
    struct walked walked = {0}, listed = {0};
    char path[400];
    hold_text(f, "one");
    hold_text(f, "three");
    digest_of(DIGEST_SHA512, "twelve bytes", 12, &d);
    assert_int_equal(store_publish_bytes(f->store, &d, "twelve bytes", 12, NULL), 0);
    write_file(folder_path_of(f, "blobs/sha256/README", path), "odd name");
    assert_int_equal(symlink("README", blob_path(f, &link, path)), 0);
    assert_int_equal(mkdir(blob_path(f, &folder, path), 0755), 0);
    assert_int_equal(store_walk(f->store, walk_one, &walked, NULL), 0);
    assert_int_equal(walked.count, 3);
    assert_int_equal(walked.bytes, 3 + 5 + 12);
    assert_int_equal(store_list(f->store, list_one, &listed, NULL), 0);
    assert_int_equal(listed.count, 3);
}

static void walk_stops_when_the_visitor_says_so(void **state)
{
    struct data_folder *f = *state;
    struct walked walked = {.stop_after = 2};
    hold_text(f, "one");
    hold_text(f, "two");
    hold_text(f, "three");
    assert_int_equal(store_walk(f->store, walk_one, &walked, NULL), -1);
    assert_int_equal(walked.count, 2);
}

/* --- sweeping --------------------------------------------------------------------------------- */

#define AGE_S 1000

static void expect_sweep(struct data_folder *f, unsigned kept, unsigned dropped)
{
    unsigned got_kept = 99, got_dropped = 99;
    struct error e = {0};
    if (store_sweep_ingest(f->store, AGE_S, &got_kept, &got_dropped, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(got_kept, kept);
    assert_int_equal(got_dropped, dropped);
}

static void sweep_keeps_data_with_its_map(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("half");
    char path[400], text[400];
    close(make_partial(f, &d, "ha"));
    expect_sweep(f, 1, 0);
    assert_string_equal(read_text(partial_path(f, &d, "", path), text), "ha");
    assert_string_equal(read_text(partial_path(f, &d, ".map", path), text), "map");
}

static void sweep_drops_data_without_map_and_map_without_data(void **state)
{
    struct data_folder *f = *state;
    struct digest data = digest_of_text("data"), map = digest_of_text("map");
    char path[400];
    write_file(partial_path(f, &data, "", path), "da");
    write_file(partial_path(f, &map, ".map", path), "map");
    expect_sweep(f, 0, 2);
    assert_int_equal(count_names(f, "ingest"), 0);
}

static void sweep_drops_what_is_held_already(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("held");
    close(make_partial(f, &d, "he"));
    hold_text(f, "held");
    expect_sweep(f, 0, 1);
    assert_int_equal(count_names(f, "ingest"), 0);
    assert_int_equal(store_has(f->store, &d, NULL), 1);
}

static void sweep_drops_what_nobody_worked_on_for_long(void **state)
{
    struct data_folder *f = *state;
    struct digest old = digest_of_text("old"), fresh_map = digest_of_text("fresh map"),
                  fresh_data = digest_of_text("fresh data");
    const struct timespec long_ago[2] = {{.tv_sec = 100000}, {.tv_sec = 100000}};
    char path[400];
    close(make_partial(f, &old, "o"));
    close(make_partial(f, &fresh_map, "f"));
    close(make_partial(f, &fresh_data, "f"));
    utimensat(AT_FDCWD, partial_path(f, &old, "", path), long_ago, 0);
    utimensat(AT_FDCWD, partial_path(f, &old, ".map", path), long_ago, 0);
    utimensat(AT_FDCWD, partial_path(f, &fresh_map, "", path), long_ago, 0);
    utimensat(AT_FDCWD, partial_path(f, &fresh_data, ".map", path), long_ago, 0);
    clock_freeze(100000 + AGE_S, 0);
    expect_sweep(f, 3, 0);
    clock_freeze(100000 + AGE_S + 1, 0);
    expect_sweep(f, 2, 1);
    clock_real();
    assert_true(path_exists(partial_path(f, &fresh_map, "", path)));
    assert_true(path_exists(partial_path(f, &fresh_data, "", path)));
    assert_false(path_exists(partial_path(f, &old, "", path)));
}

static void sweep_survives_rubbish_and_leaves_what_may_be_someones(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("disguised");
    char path[400], precious[400], text[400];
    write_file(folder_path_of(f, "precious", precious), "precious");
    write_file(folder_path_of(f, "ingest/.sha256-x.map.1-2.tmp", path), "");
    write_file(folder_path_of(f, "ingest/sha256-ABCDEF", path), "");
    write_file(folder_path_of(f, "ingest/\n\"odd\"", path), "");
    assert_int_equal(symlink(precious, folder_path_of(f, "ingest/link", path)), 0);
    assert_int_equal(symlink(precious, partial_path(f, &d, "", path)), 0);
    assert_int_equal(mkdir(folder_path_of(f, "ingest/empty", path), 0755), 0);
    assert_int_equal(mkdir(folder_path_of(f, "ingest/filled", path), 0755), 0);
    write_file(folder_path_of(f, "ingest/filled/file", path), "somebody's");
    assert_int_equal(mkfifo(folder_path_of(f, "ingest/pipe", path), 0644), 0);
    expect_sweep(f, 0, 6);
    assert_int_equal(count_names(f, "ingest"), 2);
    assert_string_equal(read_text(precious, text), "precious");
    assert_true(path_exists(folder_path_of(f, "ingest/filled/file", path)));
    expect_sweep(f, 0, 0);
}

static void folder_is_read_beside_its_owner_and_what_is_half_made_is_not_there(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("beside");
    struct error e = {0};
    char path[400];
    hold_text(f, "beside");
    struct store *beside = store_open_beside(f->path, &e);
    assert_non_null(beside);
    assert_int_equal(store_has(beside, &d, NULL), 1);
    store_close(beside);
    static const char *const missing[] = {"blobs/sha512", "blobs/sha256", "blobs", ""};
    assert_int_equal(store_remove(f->store, &d, &e), 1);
    for (size_t i = 0; i < sizeof(missing) / sizeof(*missing); i++) {
        if (*missing[i])
            assert_int_equal(rmdir(folder_path_of(f, missing[i], path)), 0);
        else
            snprintf(path, sizeof(path), "%s/none", f->path);
        e = (struct error){0};
        assert_null(store_open_beside(*missing[i] ? f->path : path, &e));
        assert_int_equal(e.kind, ERR_NOT_FOUND);
        assert_non_null(strstr(e.text, f->path));
    }
}

static void what_another_staged_is_published_and_again(void **state)
{
    struct data_folder *f = *state;
    struct digest d = digest_of_text("staged"), other = digest_of_text("other");
    struct error e = {0};
    char path[400], text[400];
    write_file(folder_path_of(f, "staged", path), "staged");
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(store_publish_staged(f->store, &d, store_folder(f->store), "staged", &e),
                         0);
        assert_int_equal(store_sync(f->store, &e), 0);
        assert_string_equal(read_text(blob_path(f, &d, path), text), "staged");
    }
    assert_int_equal(store_publish_staged(f->store, &other, store_folder(f->store), "none", &e),
                     -1);
    assert_int_equal(e.kind, ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "was held and went meanwhile; try again"));
    assert_int_equal(store_has(f->store, &other, NULL), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(fresh_folder_has_the_layout_that_other_tools_read),
        T(folder_can_be_opened_again_once_closed),
        T(folder_in_use_is_busy_and_named),
        T(folder_that_cannot_be_made_is_named),
        T(folder_is_read_beside_its_owner_and_what_is_half_made_is_not_there),
        T(what_another_staged_is_published_and_again),
        T(folder_whose_ingest_is_a_file_is_refused),
        T(missing_blob_is_not_found_and_size_is_untouched),
        T(held_blob_is_handed_out_read_only),
        T(link_pipe_or_folder_under_a_blobs_name_is_never_served),
        T(removed_blob_is_gone_and_removing_it_again_says_absent),
        T(published_partial_is_held_with_its_bytes_and_leaves_nothing_in_ingest),
        T(publishing_the_same_file_twice_is_fine),
        T(publishing_what_is_held_replaces_it),
        T(partial_that_was_replaced_by_another_file_is_never_published),
        T(failed_publish_names_the_digest_and_forgets_the_map),
        T(bytes_are_published_whole_and_leave_nothing_in_ingest),
        T(bytes_do_not_disturb_a_partial_of_the_same_digest),
        T(bytes_that_cannot_be_published_leave_no_temporary),
        T(partial_keeps_its_bytes_when_opened_again),
        T(link_in_place_of_a_partial_is_not_followed),
        T(map_is_replaced_as_a_whole),
        T(map_above_its_limit_is_refused),
        T(walk_visits_blobs_and_skips_whatever_is_none),
        T(walk_stops_when_the_visitor_says_so),
        T(sweep_keeps_data_with_its_map),
        T(sweep_drops_data_without_map_and_map_without_data),
        T(sweep_drops_what_is_held_already),
        T(sweep_drops_what_nobody_worked_on_for_long),
        T(sweep_survives_rubbish_and_leaves_what_may_be_someones),
    };
    log_configure(LOG_LEVEL_OFF, LOG_FORMAT_TEXT);
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
