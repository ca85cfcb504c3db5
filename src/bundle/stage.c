/* SPDX-License-Identifier: Apache-2.0
 * Names in the folder: <algorithm>-<hex> a blob, with ".part" its pieces, "volume-N" a mark, "new"
 * a file on its way. The lock is an flock on the folder, so a killed import holds none. */
#include "bundle/stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "cache/store.h"

#define FOLDER "import"
#define NEW "new"
#define MAX_AGE_S ((int64_t)7 * 24 * 3600)
#define READ_BYTES ((size_t)1 << 20)

struct stage {
    int all;    /* import/ */
    int folder; /* import/<id>/, locked */
    bool is_resumable;
    char id[DIGEST_HEX_MAX];
};

/* --- folders ---------------------------------------------------------------------------------- */

static void empty(int folder)
{
    autoclosedir DIR *dir = file_list(folder, ".");
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        unlinkat(folder, entry->d_name, 0);
}

static bool is_locked_by_us(int folder)
{
    return flock(folder, LOCK_EX | LOCK_NB) == 0;
}

static void sweep(int all, const char *mine)
{
    autoclosedir DIR *dir = file_list(all, ".");
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        struct stat st;
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, mine) == 0)
            continue;
        autoclose int folder = file_open_folder(all, entry->d_name, false, NULL);
        if (folder < 0 || fstat(folder, &st) < 0 ||
            st.st_mtim.tv_sec > clock_wall_s() - MAX_AGE_S || !is_locked_by_us(folder))
            continue;
        empty(folder);
        unlinkat(all, entry->d_name, AT_REMOVEDIR);
    }
}

static int open_folders(struct stage *g, struct store *s, struct error *e)
{
    struct stat all, data;
    g->all = file_open_folder(store_folder(s), FOLDER, true, e);
    if (g->all < 0)
        return -1;
    if (fstat(g->all, &all) < 0 || fstat(store_folder(s), &data) < 0)
        return error_errno(e, "stat " FOLDER);
    if (all.st_dev != data.st_dev)
        return error_set(e, ERR_IO, FOLDER " is on another file system than blobs");
    sweep(g->all, g->id);
    g->folder = file_open_folder(g->all, g->id, true, e);
    if (g->folder < 0)
        return -1;
    if (!is_locked_by_us(g->folder))
        return error_set(e, ERR_BUSY, "is being imported already by another process");
    return 0;
}

struct stage *stage_open(struct store *s, const struct digest *id, bool is_resumable,
                         struct error *e)
{
    struct stage *g = alloc_zero(sizeof *g);
    g->is_resumable = is_resumable;
    g->all = g->folder = -1;
    digest_hex(id, g->id);
    if (open_folders(g, s, e) < 0) {
        stage_close(g);
        return NULL;
    }
    if (!is_resumable)
        empty(g->folder);
    unlinkat(g->folder, NEW, 0);
    return g;
}

void stage_close(struct stage *g)
{
    if (!g)
        return;
    if (g->folder >= 0)
        close(g->folder);
    if (g->all >= 0)
        close(g->all);
    free(g);
}

void stage_remove(struct stage *g)
{
    if (!g)
        return;
    empty(g->folder);
    unlinkat(g->all, g->id, AT_REMOVEDIR);
    stage_close(g);
}

int stage_folder(const struct stage *g)
{
    return g->folder;
}

const char *stage_id(const struct stage *g)
{
    return g->id;
}

/* --- blobs ------------------------------------------------------------------------------------ */

const char *stage_name(const struct digest *d, char out[STAGE_NAME_MAX])
{
    char hex[DIGEST_HEX_MAX];
    snprintf(out, STAGE_NAME_MAX, "%s-%s", digest_algorithm_name(d), digest_hex(d, hex));
    return out;
}

static const char *part_name(const struct digest *d, char out[STAGE_NAME_MAX])
{
    size_t n = strlen(stage_name(d, out));
    snprintf(out + n, STAGE_NAME_MAX - n, ".part");
    return out;
}

bool stage_has(struct stage *g, const struct digest *d, uint64_t *size_bytes)
{
    struct stat st;
    char name[STAGE_NAME_MAX];
    if (!g || fstatat(g->folder, stage_name(d, name), &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode))
        return false;
    if (size_bytes)
        *size_bytes = (uint64_t)st.st_size;
    return true;
}

void stage_forget(struct stage *g, const struct digest *d)
{
    char name[STAGE_NAME_MAX];
    unlinkat(g->folder, stage_name(d, name), 0);
}

int stage_get(struct stage *g, struct store *s, const struct digest *d, int *fd,
              uint64_t *size_bytes, struct error *e)
{
    char name[STAGE_NAME_MAX];
    if (!stage_has(g, d, size_bytes))
        return store_get(s, d, fd, size_bytes, e);
    int got = openat(g->folder, stage_name(d, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (got < 0)
        return error_errno(e, "open %s", name);
    *fd = got;
    return 1;
}

int stage_sync(struct stage *g, const struct digest *d, struct error *e)
{
    char name[STAGE_NAME_MAX];
    if (g->is_resumable || !stage_has(g, d, NULL))
        return 0;
    autoclose int fd = openat(g->folder, stage_name(d, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(e, "open %s", name);
    return file_sync(fd, e);
}

/* --- pieces and marks ------------------------------------------------------------------------- */

int stage_part(struct stage *g, const struct digest *d, struct error *e)
{
    char name[STAGE_NAME_MAX];
    int fd = openat(g->folder, part_name(d, name), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    return fd < 0 ? error_errno(e, "open %s", name) : fd;
}

static int hash_file(int fd, struct arrival *a, uint64_t size_bytes, struct error *e)
{
    autofree char *buffer = alloc_zero(READ_BYTES);
    for (uint64_t at = 0; at < size_bytes;) {
        ssize_t n = file_read_some(fd, buffer, READ_BYTES, at, e);
        if (n <= 0)
            return n < 0 ? -1 : error_set(e, ERR_CORRUPT, "pieces are missing");
        if (arrival_write(a, buffer, (size_t)n, e) < 0)
            return -1;
        at += (uint64_t)n;
    }
    return 0;
}

int stage_join(struct stage *g, const struct digest *d, uint64_t size_bytes, struct error *e)
{
    struct arrival a;
    struct stat st;
    char part[STAGE_NAME_MAX], name[STAGE_NAME_MAX];
    part_name(d, part);
    stage_name(d, name);
    if (stage_has(g, d, NULL))
        return 0;
    autoclose int fd = stage_part(g, d, e);
    if (fd < 0 || arrival_begin(&a, NULL, (enum digest_algorithm)d->algorithm, e) < 0)
        return -1;
    int result = fstat(fd, &st) < 0 ? error_errno(e, "stat %s", part) : 0;
    if (result == 0 && (uint64_t)st.st_size != size_bytes)
        result = error_set(e, ERR_CORRUPT, "pieces do not make %s", name);
    if (result == 0)
        result = hash_file(fd, &a, size_bytes, e);
    if (result == 0)
        result = arrival_end(&a, d, NULL, e);
    else
        arrival_drop(&a);
    if (result < 0) {
        unlinkat(g->folder, part, 0);
        return -1;
    }
    if (file_sync(fd, e) < 0)
        return -1;
    if (renameat(g->folder, part, g->folder, name) < 0)
        return error_errno(e, "rename %s", part);
    return 0;
}

int stage_mark(struct stage *g, size_t volume, struct error *e)
{
    char name[40];
    snprintf(name, sizeof name, "volume-%zu", volume + 1);
    return file_replace(g->folder, name, "", 0, true, e);
}

bool stage_is_marked(struct stage *g, size_t volume)
{
    char name[40];
    snprintf(name, sizeof name, "volume-%zu", volume + 1);
    return g && faccessat(g->folder, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- arrivals --------------------------------------------------------------------------------- */

int arrival_begin(struct arrival *a, struct stage *s, enum digest_algorithm algorithm,
                  struct error *e)
{
    *a = (struct arrival){.stage = s, .fd = -1};
    if (s) {
        a->fd = openat(s->folder, NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (a->fd < 0)
            return error_errno(e, "create a file in import/%s", s->id);
    }
    a->hasher = hasher_new(algorithm);
    return 0;
}

int arrival_write(struct arrival *a, const void *bytes, size_t length, struct error *e)
{
    hasher_update(a->hasher, bytes, length);
    if (a->fd >= 0 && file_write_all(a->fd, bytes, length, a->at, e) < 0)
        return -1;
    a->at += length;
    return 0;
}

void arrival_drop(struct arrival *a)
{
    hasher_free(a->hasher);
    if (a->fd >= 0) {
        close(a->fd);
        unlinkat(a->stage->folder, NEW, 0);
    }
    *a = (struct arrival){.fd = -1};
}

static int keep(struct arrival *a, const struct digest *d, struct error *e)
{
    char name[STAGE_NAME_MAX];
    if (a->fd < 0 || stage_has(a->stage, d, NULL))
        return 0;
    if (a->stage->is_resumable && file_sync(a->fd, e) < 0)
        return -1;
    if (renameat(a->stage->folder, NEW, a->stage->folder, stage_name(d, name)) < 0)
        return error_errno(e, "rename to %s", name);
    return 0;
}

int arrival_end(struct arrival *a, const struct digest *wanted, struct digest *found,
                struct error *e)
{
    struct digest d;
    char is[DIGEST_TEXT_MAX], named[DIGEST_TEXT_MAX];
    hasher_final(a->hasher, &d);
    int result = 0;
    if (wanted && !digest_equals(wanted, &d))
        result = error_set(e, ERR_CORRUPT, "a blob named %s is %s", digest_print(wanted, named),
                           digest_print(&d, is));
    if (result == 0)
        result = keep(a, &d, e);
    if (result == 0 && found)
        *found = d;
    arrival_drop(a);
    return result;
}
