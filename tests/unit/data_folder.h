/* SPDX-License-Identifier: Apache-2.0
 * What the tests of cache share: a data folder that goes away, digests of made-up content, a look
 * at files. */
#ifndef TESTS_DATA_FOLDER_H
#define TESTS_DATA_FOLDER_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "cache/store.h"
#include "oci/digest.h"

struct data_folder {
    char path[64];
    struct store *store;
};

/* Opens (again) the store of that folder; ends the test if that fails. */
static inline void folder_open_store(struct data_folder *f)
{
    struct error e = {0};
    f->store = store_open(f->path, &e);
    if (!f->store)
        fail_msg("%s", e.text);
}

static inline void folder_close_store(struct data_folder *f)
{
    store_close(f->store);
    f->store = NULL;
}

static inline int folder_setup(void **state)
{
    struct data_folder *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    snprintf(f->path, sizeof(f->path), "/tmp/tranship-test-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    folder_open_store(f);
    *state = f;
    return 0;
}

static inline int folder_remove_one(const char *path, const struct stat *st, int kind,
                                    struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline int folder_teardown(void **state)
{
    struct data_folder *f = *state;
    folder_close_store(f);
    nftw(f->path, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static inline struct digest digest_of_text(const char *text)
{
    struct digest d;
    digest_of(DIGEST_SHA256, text, strlen(text), &d);
    return d;
}

static inline const char *folder_path_of(const struct data_folder *f, const char *name,
                                         char out[400])
{
    snprintf(out, 400, "%s/%s", f->path, name);
    return out;
}

static inline const char *blob_path(const struct data_folder *f, const struct digest *d,
                                    char out[400])
{
    char hex[DIGEST_HEX_MAX];
    snprintf(out, 400, "%s/blobs/%s/%s", f->path, digest_algorithm_name(d), digest_hex(d, hex));
    return out;
}

static inline const char *partial_path(const struct data_folder *f, const struct digest *d,
                                       const char *suffix, char out[400])
{
    char hex[DIGEST_HEX_MAX];
    snprintf(out, 400, "%s/ingest/%s-%s%s", f->path, digest_algorithm_name(d), digest_hex(d, hex),
             suffix);
    return out;
}

static inline bool path_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static inline void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* Nothing can be published under that digest: a folder has its name, and cannot be set aside. */
static inline void block_name(const struct data_folder *f, const struct digest *d)
{
    char path[400];
    assert_int_equal(mkdir(blob_path(f, d, path), 0755), 0);
    write_file(folder_path_of(f, "quarantine", path), "");
}

/* The whole of a small file; "" if there is none. */
static inline const char *read_text(const char *path, char out[400])
{
    out[0] = '\0';
    FILE *f = fopen(path, "r");
    if (f) {
        out[fread(out, 1, 399, f)] = '\0';
        fclose(f);
    }
    return out;
}

static inline unsigned count_names(const struct data_folder *f, const char *name)
{
    char path[400];
    unsigned count = 0;
    DIR *dir = opendir(folder_path_of(f, name, path));
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2; /* "." and ".." */
}

static inline void hold_text(const struct data_folder *f, const char *text)
{
    struct digest d = digest_of_text(text);
    struct error e = {0};
    if (store_publish_bytes(f->store, &d, text, strlen(text), &e) < 0)
        fail_msg("%s", e.text);
}

/* Ends the test if the call, which is given e, fails. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        struct error e_ = {0}, *e = &e_;                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, e_.text);                                                    \
    } while (0)

/* A write to the index o->x in a transaction of its own. */
#define WRITE(o, call)                                                                             \
    do {                                                                                           \
        OK(index_begin((o)->x, e));                                                                \
        OK(call);                                                                                  \
        OK(index_commit((o)->x, e));                                                               \
    } while (0)

#endif
