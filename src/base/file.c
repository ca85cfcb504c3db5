/* SPDX-License-Identifier: Apache-2.0
 * Files relative to an open folder. Knows how to write a whole file and make it durable; nothing of
 * what is in it. Links in the last component are refused: names here are the program's own, so a
 * link was put there by another. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"

static int make_folder(const char *path, struct error *e)
{
    struct stat st;
    if (mkdir(path, 0755) == 0)
        return 0;
    /* Where a folder is already, any failure is fine: some file systems say EROFS or EACCES. */
    int reason = errno;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return 0;
        reason = ENOTDIR;
    }
    errno = reason;
    return error_errno(e, "make folder %s", path);
}

int file_make_path(const char *path, struct error *e)
{
    autofree char *part = alloc_string(path);
    for (char *at = part; *at; at++) {
        if (*at != '/' || at == part || at[-1] == '/')
            continue;
        *at = '\0';
        if (make_folder(part, e) < 0)
            return -1;
        *at = '/';
    }
    return make_folder(path, e);
}

int file_open_folder(int at, const char *name, bool make, struct error *e)
{
    if (make && mkdirat(at, name, 0755) < 0 && errno != EEXIST)
        return error_errno(e, "make folder %s", name);
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0)
        return fd;
    struct stat st;
    error_errno(e, "open folder %s", name);
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
        error_set(e, ERR_IO, "open folder %s: it is a link, which is not followed", name);
    return -1;
}

/* Whether a file can have bytes there at all: off_t is signed. */
static bool fits_file(uint64_t offset, size_t length)
{
    return offset <= INT64_MAX && length <= INT64_MAX - offset;
}

int file_write_all(int fd, const void *bytes, size_t length, uint64_t offset, struct error *e)
{
    const char *from = bytes;
    if (!fits_file(offset, length))
        return error_set(e, ERR_IO, "write %zu bytes: offset too large", length);
    while (length) {
        ssize_t n = pwrite(fd, from, length, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(e, "write %zu bytes", length);
        if (n == 0)
            return error_set(e, ERR_IO, "write %zu bytes: nothing was taken", length);
        from += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

void file_reserve(int fd, uint64_t offset, uint64_t length)
{
    if (length > 0 && offset <= INT64_MAX && length <= INT64_MAX - offset)
        (void)fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
}

bool file_find_hole(int fd, uint64_t from, uint64_t end, uint64_t *first, uint64_t *after)
{
    off_t hole = lseek(fd, (off_t)from, SEEK_HOLE);
    if (hole < 0 || (uint64_t)hole >= end)
        return false;
    off_t data = lseek(fd, hole, SEEK_DATA); /* none: to the end of the file */
    *first = (uint64_t)hole;
    *after = data < 0 || (uint64_t)data > end ? end : (uint64_t)data;
    return true;
}

ssize_t file_read_some(int fd, void *into, size_t max, uint64_t offset, struct error *e)
{
    char *to = into;
    size_t done = 0;
    if (max > SSIZE_MAX || !fits_file(offset, max))
        return error_set(e, ERR_IO, "read %zu bytes: offset too large", max);
    while (done < max) {
        ssize_t n = pread(fd, to + done, max - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(e, "read %zu bytes", max - done);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int file_open_regular(int at, const char *name, struct error *e)
{
    struct stat st;
    /* Without O_NONBLOCK, opening a pipe that somebody left under this name would wait for a
     * writer. */
    autoclose int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? -2 : error_errno(e, "open %s", name);
    if (fstat(fd, &st) < 0)
        return error_errno(e, "stat %s", name);
    if (!S_ISREG(st.st_mode))
        return error_set(e, ERR_CORRUPT, "%s is not a regular file", name);
    return take_fd(fd);
}

int file_read(int at, const char *name, size_t max, char **bytes, size_t *length, struct error *e)
{
    struct stat st;
    int opened = file_open_regular(at, name, e);
    if (opened < 0)
        return opened == -2 ? 0 : -1;
    autoclose int fd = opened;
    if (fstat(fd, &st) < 0)
        return error_errno(e, "stat %s", name);
    if ((uint64_t)st.st_size > max)
        return error_set(e, ERR_CORRUPT, "%s is larger than %zu bytes", name, max);

    /* The size is a first guess: a file may grow while it is read, and those under /proc say 0. */
    size_t room = st.st_size ? (size_t)st.st_size + 1 : 4096;
    autofree char *text = NULL;
    size_t done = 0;
    for (;;) {
        text = alloc_grow(text, room + 1, 1);
        ssize_t n = file_read_some(fd, text + done, room - done, done, e);
        if (n < 0)
            return error_prefix(e, "%s", name);
        done += (size_t)n;
        if (done > max)
            return error_set(e, ERR_CORRUPT, "%s is larger than %zu bytes", name, max);
        if (done < room)
            break;
        room *= 2;
    }
    text[done] = '\0';
    *bytes = take(text);
    *length = done;
    return 1;
}

DIR *file_list(int at, const char *name)
{
    /* Opened anew: a descriptor that somebody holds would share its position. */
    autoclose int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir)
        take_fd(fd);
    return dir;
}

int file_sync(int fd, struct error *e)
{
    while (fsync(fd) < 0)
        if (errno != EINTR)
            return error_errno(e, "sync");
    return 0;
}

/* A name of its own for each writer, so that two who replace the same file never write into one
 * temporary. */
static int open_temporary(int folder, const char *name, char **temporary, struct error *e)
{
    static _Atomic unsigned serial;
    int fd;
    do { /* EEXIST: left by a process that had our id */
        free(*temporary);
        *temporary =
            alloc_format(".%s.%ld-%u.tmp", name, (long)getpid(), atomic_fetch_add(&serial, 1));
        fd = openat(folder, *temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    } while (fd < 0 && errno == EEXIST);
    return fd < 0 ? error_errno(e, "create %s", *temporary) : fd;
}

static int fill(int fd, const void *bytes, size_t length, bool durable, struct error *e)
{
    if (file_write_all(fd, bytes, length, 0, e) < 0)
        return -1;
    return durable ? file_sync(fd, e) : 0;
}

int file_replace(int at, const char *name, const void *bytes, size_t length, bool durable,
                 struct error *e)
{
    const char *slash = strrchr(name, '/');
    const char *last = slash ? slash + 1 : name;
    autofree char *path = slash ? alloc_bytes(name, (size_t)(last - name)) : alloc_string(".");
    autoclose int folder = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return error_errno(e, "open folder of %s", name);
    autofree char *temporary = NULL;
    autoclose int fd = open_temporary(folder, last, &temporary, e);
    if (fd < 0)
        return error_prefix(e, "replace %s", name);
    int result = fill(fd, bytes, length, durable, e);
    if (result == 0 && renameat(folder, temporary, folder, last) < 0)
        result = error_errno(e, "rename %s", temporary);
    if (result < 0) {
        unlinkat(folder, temporary, 0);
        return error_prefix(e, "replace %s", name);
    }
    if (durable && file_sync(folder, e) < 0)
        return error_prefix(e, "replace %s", name);
    return 0;
}
