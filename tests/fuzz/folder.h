/* SPDX-License-Identifier: Apache-2.0
 * For targets whose input is a file: a folder in which it stands, and which goes with the process.
 */
#ifndef FUZZ_FOLDER_H
#define FUZZ_FOLDER_H

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

static char fuzz_folder_path[] = "/tmp/tranship-fuzz-XXXXXX";

static int fuzz_folder_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void fuzz_folder_remove(void)
{
    nftw(fuzz_folder_path, fuzz_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Its path: made with the first call. */
static inline const char *fuzz_folder(void)
{
    static bool is_made;
    if (!is_made) {
        must(mkdtemp(fuzz_folder_path));
        must(atexit(fuzz_folder_remove) == 0);
        is_made = true;
    }
    return fuzz_folder_path;
}

/* The path of a file with these bytes, the same with each call. */
static inline const char *fuzz_file(const void *bytes, size_t size)
{
    static char path[64];
    snprintf(path, sizeof path, "%s/input", fuzz_folder());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0);
    must(write(fd, bytes, size) == (ssize_t)size);
    must(close(fd) == 0);
    return path;
}

#endif
