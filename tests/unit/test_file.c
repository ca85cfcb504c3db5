/* SPDX-License-Identifier: Apache-2.0
 * file: each test has a folder of its own; links, pipes and folders in a file's place are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"

struct place {
    char path[64];
    int fd;
};

static int enter(void **state)
{
    struct place *p = alloc_zero(sizeof(*p));
    snprintf(p->path, sizeof(p->path), "/tmp/test_file.XXXXXX");
    *state = p;
    if (!mkdtemp(p->path))
        return -1;
    p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return p->fd < 0 ? -1 : 0;
}

static void empty(int folder)
{
    DIR *d = fdopendir(folder);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (unlinkat(dirfd(d), entry->d_name, 0) == 0)
            continue;
        empty(openat(dirfd(d), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        unlinkat(dirfd(d), entry->d_name, AT_REMOVEDIR);
    }
    closedir(d);
}

static int leave(void **state)
{
    struct place *p = *state;
    empty(p->fd);
    int result = rmdir(p->path);
    free(p);
    return result;
}

static size_t count_names(const struct place *p)
{
    DIR *d = opendir(p->path);
    assert_non_null(d);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(d));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(d);
    return count;
}

static void put(const struct place *p, const char *name, const char *text)
{
    struct error e = {0};
    if (file_replace(p->fd, name, text, strlen(text), false, &e) < 0)
        fail_msg("%s", e.text);
}

static void assert_holds(const struct place *p, const char *name, const char *text)
{
    struct error e = {0};
    autofree char *bytes = NULL;
    size_t length = 0;
    assert_int_equal(file_read(p->fd, name, 1 << 20, &bytes, &length, &e), 1);
    assert_int_equal(length, strlen(text));
    assert_string_equal(bytes, text);
}

static void a_path_is_made_with_its_parents_and_may_exist(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    struct stat st;
    autofree char *path = alloc_format("%s/a//b/c/", p->path);
    assert_int_equal(file_make_path(path, &e), 0);
    assert_int_equal(file_make_path(path, &e), 0);
    assert_int_equal(fstatat(p->fd, "a/b/c", &st, 0), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(e.kind, ERR_NONE);
}

static void a_path_through_a_file_is_an_error_that_names_it(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    put(p, "f", "x");
    autofree char *at_file = alloc_format("%s/f", p->path);
    autofree char *through_file = alloc_format("%s/f/g", p->path);
    assert_int_equal(file_make_path(at_file, &e), -1);
    assert_int_equal(e.kind, ERR_IO);
    assert_non_null(strstr(e.text, at_file));
    assert_int_equal(file_make_path(through_file, &e), -1);
    assert_int_equal(file_make_path("", &e), -1);
}

static void a_folder_is_opened_and_made_only_on_request(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    assert_int_equal(file_open_folder(p->fd, "d", false, &e), -1);
    assert_int_equal(e.kind, ERR_IO);
    autoclose int made = file_open_folder(p->fd, "d", true, &e);
    assert_true(made >= 0);
    autoclose int again = file_open_folder(p->fd, "d", true, &e);
    assert_true(again >= 0);
    assert_int_equal(fcntl(made, F_GETFD), FD_CLOEXEC);
}

static void links_are_not_followed(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    autofree char *bytes = NULL;
    size_t length = 77;
    put(p, "target", "secret");
    assert_int_equal(mkdirat(p->fd, "folder", 0755), 0);
    assert_int_equal(symlinkat("target", p->fd, "link"), 0);
    assert_int_equal(symlinkat("folder", p->fd, "folder-link"), 0);
    assert_int_equal(file_read(p->fd, "link", 100, &bytes, &length, &e), -1);
    assert_null(bytes);
    assert_int_equal(length, 77);
    assert_int_equal(file_open_folder(p->fd, "folder-link", true, &e), -1);
    assert_non_null(strstr(e.text, "a link"));
}

static void a_folder_is_listed_from_its_first_name_each_time_and_not_through_a_link(void **state)
{
    struct place *p = *state;
    put(p, "f", "");
    assert_int_equal(symlinkat(".", p->fd, "link"), 0);
    for (int n = 0; n < 2; n++) {
        autoclosedir DIR *dir = file_list(p->fd, ".");
        unsigned names = 0;
        assert_non_null(dir);
        for (struct dirent *entry; (entry = readdir(dir));)
            names += entry->d_name[0] != '.';
        assert_int_equal(names, 2);
    }
    assert_null(file_list(p->fd, "link"));
    assert_null(file_list(p->fd, "f"));
    assert_int_equal(errno, ENOTDIR);
}

static void replacing_a_link_leaves_its_target_alone(void **state)
{
    struct place *p = *state;
    put(p, "target", "old");
    assert_int_equal(symlinkat("target", p->fd, "link"), 0);
    put(p, "link", "new");
    assert_holds(p, "target", "old");
    assert_holds(p, "link", "new");
}

static void a_missing_file_is_no_error_and_results_are_untouched(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    char *bytes = NULL;
    size_t length = 77;
    assert_int_equal(file_read(p->fd, "none", 100, &bytes, &length, &e), 0);
    assert_null(bytes);
    assert_int_equal(length, 77);
    assert_int_equal(e.kind, ERR_NONE);
}

static void a_file_is_read_up_to_the_limit_and_not_beyond(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    autofree char *bytes = NULL;
    autofree char *untouched = NULL;
    size_t length = 0;
    put(p, "f", "12345");
    assert_int_equal(file_read(p->fd, "f", 5, &bytes, &length, &e), 1);
    assert_int_equal(length, 5);
    assert_string_equal(bytes, "12345");
    assert_int_equal(file_read(p->fd, "f", 4, &untouched, &length, &e), -1);
    assert_int_equal(e.kind, ERR_CORRUPT);
    assert_null(untouched);
    assert_int_equal(length, 5);
}

static void an_empty_file_is_read_as_an_empty_string(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    autofree char *bytes = NULL;
    size_t length = 77;
    put(p, "f", "");
    assert_int_equal(file_read(p->fd, "f", 0, &bytes, &length, &e), 1);
    assert_int_equal(length, 0);
    assert_string_equal(bytes, "");
}

static void a_file_that_claims_no_size_is_read_whole_or_refused(void **state)
{
    (void)state;
    struct error e = {0};
    autofree char *bytes = NULL;
    autofree char *untouched = NULL;
    size_t length = 0;
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/smaps", 16 << 20, &bytes, &length, &e), 1);
    assert_true(length > 8192); /* so it took more than the first guess */
    assert_int_equal(strlen(bytes), length);
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/smaps", 100, &untouched, &length, &e), -1);
    assert_int_equal(e.kind, ERR_CORRUPT);
}

static void pipes_and_folders_are_refused_at_once(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    char *bytes = NULL;
    size_t length = 0;
    assert_int_equal(mkfifoat(p->fd, "pipe", 0644), 0);
    assert_int_equal(mkdirat(p->fd, "folder", 0755), 0);
    assert_int_equal(file_read(p->fd, "pipe", 100, &bytes, &length, &e), -1);
    assert_int_equal(e.kind, ERR_CORRUPT);
    assert_int_equal(file_read(p->fd, "folder", 100, &bytes, &length, &e), -1);
    assert_int_equal(e.kind, ERR_CORRUPT);
}

static void bytes_are_written_and_read_where_they_belong(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    char out[16] = "";
    autoclose int fd = openat(p->fd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, "world", 5, 6, &e), 0);
    assert_int_equal(file_write_all(fd, "hello ", 6, 0, &e), 0);
    assert_int_equal(file_write_all(fd, NULL, 0, 3, &e), 0);
    assert_int_equal(file_sync(fd, &e), 0);
    assert_int_equal(file_read_some(fd, out, 5, 3, &e), 5);
    assert_memory_equal(out, "lo wo", 5);
    assert_int_equal(file_read_some(fd, out, sizeof(out), 6, &e), 5);
    assert_int_equal(file_read_some(fd, out, sizeof(out), 11, &e), 0);
    assert_int_equal(file_read_some(fd, out, sizeof(out), 1000, &e), 0);
    assert_int_equal(e.kind, ERR_NONE);
}

static void room_is_reserved_without_a_change_of_size_and_only_if_it_can_be_had(void **state)
{
    struct place *p = *state;
    struct stat st;
    autoclose int fd = openat(p->fd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    file_reserve(fd, 4096, 1 << 20);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_true(st.st_blocks >= (1 << 20) / 512);
    file_reserve(fd, INT64_MAX, 1);
    file_reserve(fd, 0, UINT64_MAX);
    file_reserve(-1, 0, 4096);
}

static void offsets_that_no_file_has_are_refused(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    char byte = 'x';
    autoclose int fd = openat(p->fd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(file_write_all(fd, &byte, 1, UINT64_MAX, &e), -1);
    assert_int_equal(file_write_all(fd, &byte, 1, INT64_MAX, &e), -1);
    assert_int_equal(file_read_some(fd, &byte, 1, UINT64_MAX, &e), -1);
    assert_int_equal(e.kind, ERR_IO);
}

static void a_bad_descriptor_is_an_error(void **state)
{
    (void)state;
    struct error e = {0};
    char byte = 'x';
    assert_int_equal(file_write_all(-1, &byte, 1, 0, &e), -1);
    assert_int_equal(file_read_some(-1, &byte, 1, 0, &e), -1);
    assert_int_equal(file_sync(-1, &e), -1);
    assert_int_equal(e.kind, ERR_IO);
}

static void a_full_disk_says_so(void **state)
{
    (void)state;
    struct error e = {0};
    autoclose int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, "x", 1, 0, &e), -1);
    assert_int_equal(e.kind, ERR_NO_SPACE);
}

static void replacing_leaves_the_new_text_and_nothing_else(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    put(p, "f", "a longer old text");
    assert_int_equal(file_replace(p->fd, "f", "new", 3, true, &e), 0);
    assert_holds(p, "f", "new");
    assert_int_equal(count_names(p), 1);
}

static void a_name_below_a_folder_is_replaced_there(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    assert_int_equal(file_replace(p->fd, "d/f", "x", 1, true, &e), 0);
    assert_holds(p, "d/f", "x");
    autofree char *path = alloc_format("%s/g", p->path);
    assert_int_equal(file_replace(AT_FDCWD, path, "y", 1, true, &e), 0);
    assert_holds(p, "g", "y");
    assert_int_equal(file_replace(p->fd, "none/f", "x", 1, false, &e), -1);
    assert_int_equal(count_names(p), 2);
}

static void a_failed_replace_keeps_the_old_text_and_no_temporary(void **state)
{
    struct place *p = *state;
    struct error e = {0};
    put(p, "f", "old");
    assert_int_equal(mkdirat(p->fd, "folder", 0755), 0);
    put(p, "folder/inside", "x");
    assert_int_equal(file_replace(p->fd, "folder", "x", 1, false, &e), -1);
    assert_non_null(strstr(e.text, "folder"));

    struct rlimit before, none = {.rlim_cur = 10};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    int result = file_replace(p->fd, "f", "eleven byte", 11, true, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(result, -1);
    assert_int_equal(e.kind, ERR_IO);
    assert_holds(p, "f", "old");
    assert_int_equal(count_names(p), 2);
}

static void a_temporary_left_by_a_crash_is_in_nobody_s_way(void **state)
{
    struct place *p = *state;
    for (int i = 0; i < 40; i++) { /* the names that this process would take next */
        autofree char *name = alloc_format(".f.%ld-%d.tmp", (long)getpid(), i);
        autoclose int fd = openat(p->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
    }
    put(p, "f", "new");
    assert_holds(p, "f", "new");
    assert_int_equal(count_names(p), 41);
}

struct writer {
    const struct place *place;
    char letter;
    int failures;
};

static void *replace_often(void *cls)
{
    struct writer *w = cls;
    char text[5000];
    memset(text, w->letter, sizeof(text));
    for (int i = 0; i < 100; i++)
        w->failures += file_replace(w->place->fd, "f", text, sizeof(text), false, NULL) != 0;
    return NULL;
}

static void writers_of_the_same_name_never_mix(void **state)
{
    struct place *p = *state;
    struct writer writers[] = {{p, 'a', 0}, {p, 'b', 0}};
    pthread_t threads[2];
    put(p, "f", "c");
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, replace_often, &writers[i]), 0);
    for (int i = 0; i < 200; i++) {
        autofree char *bytes = NULL;
        size_t length = 0;
        assert_int_equal(file_read(p->fd, "f", 5000, &bytes, &length, NULL), 1);
        assert_true(length == 5000 || (length == 1 && bytes[0] == 'c'));
        assert_int_equal(strspn(bytes, (char[]){bytes[0], '\0'}), length);
    }
    for (size_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(writers[i].failures, 0);
    }
    assert_int_equal(count_names(p), 1);
}

#define placed(test) cmocka_unit_test_setup_teardown(test, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        placed(a_temporary_left_by_a_crash_is_in_nobody_s_way), /* first: it knows the numbering */
        placed(a_path_is_made_with_its_parents_and_may_exist),
        placed(a_path_through_a_file_is_an_error_that_names_it),
        placed(a_folder_is_opened_and_made_only_on_request),
        placed(links_are_not_followed),
        placed(a_folder_is_listed_from_its_first_name_each_time_and_not_through_a_link),
        placed(replacing_a_link_leaves_its_target_alone),
        placed(a_missing_file_is_no_error_and_results_are_untouched),
        placed(a_file_is_read_up_to_the_limit_and_not_beyond),
        placed(an_empty_file_is_read_as_an_empty_string),
        cmocka_unit_test(a_file_that_claims_no_size_is_read_whole_or_refused),
        placed(pipes_and_folders_are_refused_at_once),
        placed(bytes_are_written_and_read_where_they_belong),
        placed(room_is_reserved_without_a_change_of_size_and_only_if_it_can_be_had),
        placed(offsets_that_no_file_has_are_refused),
        cmocka_unit_test(a_bad_descriptor_is_an_error),
        cmocka_unit_test(a_full_disk_says_so),
        placed(replacing_leaves_the_new_text_and_nothing_else),
        placed(a_name_below_a_folder_is_replaced_there),
        placed(a_failed_replace_keeps_the_old_text_and_no_temporary),
        placed(writers_of_the_same_name_never_mix),
    };
    signal(SIGXFSZ, SIG_IGN); /* so that the size limit is an error here, not the end */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
