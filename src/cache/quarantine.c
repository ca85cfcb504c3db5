/* SPDX-License-Identifier: Apache-2.0
 * A rename and its opposite. Knows the two names of a file and what room is to be told; why it is
 * wrong is the caller's knowledge. */
#include "cache/quarantine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "cache/room.h"
#include "cache/store.h"

enum { NAME_BYTES = 192 };

static int64_t counted(const struct stat *st)
{
    return S_ISREG(st->st_mode) ? room_of_file((uint64_t)st->st_size) : 0;
}

/* Whatever stands there: a folder only if it is empty. Returns what it was counted with, -1 if it
 * stays. */
static int64_t remove_any(int folder, const char *name)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -1;
    if (unlinkat(folder, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
        return -1;
    return counted(&st);
}

/* Is what has the name what the caller means? */
static bool is_meant(const struct stat *there, int fd)
{
    struct stat st;
    if (fd < 0)
        return !S_ISREG(there->st_mode);
    return fstat(fd, &st) == 0 && st.st_dev == there->st_dev && st.st_ino == there->st_ino;
}

int quarantine_take(struct store *s, const struct digest *d, int fd, struct error *e)
{
    struct stat there;
    char hex[DIGEST_HEX_MAX], from[NAME_BYTES], to[NAME_BYTES];
    snprintf(from, sizeof from, "blobs/%s/%s", digest_algorithm_name(d), digest_hex(d, hex));
    snprintf(to, sizeof to, "%s-%s", digest_algorithm_name(d), hex);
    if (fstatat(store_folder(s), from, &there, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : error_errno(e, "stat %s", from);
    if (!is_meant(&there, fd))
        return 0;
    autoclose int folder = file_open_folder(store_folder(s), QUARANTINE_FOLDER, true, e);
    if (folder < 0)
        return -1;
    int64_t before = remove_any(folder, to);
    if (before > 0)
        room_add_aside(store_room(s), -before);
    if (renameat(store_folder(s), from, folder, to) < 0)
        return error_errno(e, "rename %s into " QUARANTINE_FOLDER, from);
    room_add_aside(store_room(s), counted(&there));
    room_add_blobs(store_room(s), -counted(&there));
    utimensat(folder, to, NULL, AT_SYMLINK_NOFOLLOW); /* from now on it ages */
    return 1;
}

/* Calls visit for each name until it returns false. */
static void each(struct store *s, bool (*visit)(int folder, const char *name, void *cls), void *cls)
{
    const struct dirent *entry;
    autoclosedir DIR *dir = file_list(store_folder(s), QUARANTINE_FOLDER);
    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            !visit(dirfd(dir), entry->d_name, cls))
            break;
}

struct sweep {
    struct room *room;
    int64_t oldest_s;
};

static bool sweep_one(int folder, const char *name, void *cls)
{
    const struct sweep *w = cls;
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return true;
    if (st.st_mtim.tv_sec >= w->oldest_s || remove_any(folder, name) < 0)
        room_add_aside(w->room, counted(&st));
    return true;
}

void quarantine_sweep(struct store *s, int64_t max_age_s)
{
    struct sweep w = {store_room(s), clock_wall_s() - max_age_s};
    each(s, sweep_one, &w);
}

static bool drop_one(int folder, const char *name, void *cls)
{
    int64_t *freed = cls;
    *freed = remove_any(folder, name);
    return *freed <= 0;
}

int64_t quarantine_drop(struct store *s)
{
    int64_t freed = 0;
    each(s, drop_one, &freed);
    if (freed <= 0)
        return 0;
    room_add_aside(store_room(s), -freed);
    return freed;
}
