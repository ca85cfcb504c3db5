/* SPDX-License-Identifier: Apache-2.0
 * The data folder's files: names, descriptors, and the order in which a file becomes durable. Knows
 * that a name under blobs/ must only ever be given to content that a caller has verified, and so
 * gives it in one place (publish_as). Refuses to know the index, hashes and what a blob means.
 * Every folder is held open, so that no path is walked twice and a data folder that is moved while
 * in use stays the same folder. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "cache/quarantine.h"
#include "cache/room.h"
#include "cache/store_inside.h"

#define MAP_MAX_BYTES (1024u * 1024)
#define BLOB_MODE 0644

const char *const store_algorithm_folders[ALGORITHMS] = {NULL, "sha256", "sha512"};

static int blobs_of(const struct store *s, const struct digest *d)
{
    return s->blobs[d->algorithm];
}

const char *store_partial_name(const struct digest *d, const char *suffix, char out[NAME_BYTES])
{
    char hex[DIGEST_HEX_MAX];
    snprintf(out, NAME_BYTES, "%s-%s%s", digest_algorithm_name(d), digest_hex(d, hex), suffix);
    return out;
}

/* --- opening ---------------------------------------------------------------------------------- */

static int write_layout(struct store *s, struct error *e)
{
    static const char text[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    if (faccessat(s->folder, "oci-layout", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    return file_replace(s->folder, "oci-layout", text, sizeof(text) - 1, true, e);
}

/* Root passes every check of permissions, a read-only file system refuses even root: both are told
 * here. */
static int check_writable(int folder, const char *name, struct error *e)
{
    if (faccessat(folder, ".", W_OK | X_OK, AT_EACCESS) < 0)
        return error_errno(e, "write into %s", name);
    return 0;
}

static int open_folders(struct store *s, struct error *e)
{
    struct stat ingest, blobs;
    autoclose int parent = file_open_folder(s->folder, "blobs", true, e);
    if (parent < 0)
        return -1;
    s->ingest = file_open_folder(s->folder, "ingest", true, e);
    if (s->ingest < 0 || check_writable(s->ingest, "ingest", e) < 0)
        return -1;
    if (fstat(s->ingest, &ingest) < 0)
        return error_errno(e, "stat ingest");
    for (int i = DIGEST_SHA256; i < ALGORITHMS; i++) {
        s->blobs[i] = file_open_folder(parent, store_algorithm_folders[i], true, e);
        if (s->blobs[i] < 0 || check_writable(s->blobs[i], store_algorithm_folders[i], e) < 0)
            return error_prefix(e, "blobs");
        if (fstat(s->blobs[i], &blobs) < 0)
            return error_errno(e, "stat blobs/%s", store_algorithm_folders[i]);
        if (blobs.st_dev != ingest.st_dev)
            return error_set(e, ERR_IO, "ingest and blobs/%s are on different file systems",
                             store_algorithm_folders[i]);
    }
    return write_layout(s, e);
}

static int open_locked(struct store *s, struct error *e)
{
    if (file_make_path(s->path, e) < 0)
        return -1;
    s->folder = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->folder < 0)
        return error_errno(e, "open");
    if (flock(s->folder, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return error_set(e, ERR_BUSY, "is in use by another tranship");
        return error_errno(e, "lock");
    }
    return open_folders(s, e);
}

static struct store *store_new(const char *path)
{
    struct store *s = alloc_zero(sizeof(*s));
    s->path = alloc_string(path);
    s->folder = s->ingest = -1;
    for (int i = 0; i < ALGORITHMS; i++)
        s->blobs[i] = -1;
    return s;
}

struct store *store_open(const char *path, struct error *e)
{
    struct store *s = store_new(path);
    if (open_locked(s, e) < 0) {
        error_prefix(e, "data folder %s", path);
        store_close(s);
        return NULL;
    }
    s->room = room_new(s->folder);
    return s;
}

static int open_there(int at, const char *name, struct error *e)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return error_set(e, ERR_NOT_FOUND, "is not there, or holds nothing yet");
    return fd < 0 ? error_errno(e, "open %s", name) : fd;
}

/* Whoever was to make the folders may have been killed after some of them. */
static int open_beside(struct store *s, struct error *e)
{
    s->folder = open_there(AT_FDCWD, s->path, e);
    autoclose int parent = s->folder < 0 ? -1 : open_there(s->folder, "blobs", e);
    if (parent < 0)
        return -1;
    for (int i = DIGEST_SHA256; i < ALGORITHMS; i++) {
        s->blobs[i] = open_there(parent, store_algorithm_folders[i], e);
        if (s->blobs[i] < 0)
            return -1;
    }
    s->ingest = open_there(s->folder, "ingest", e);
    return s->ingest < 0 ? -1 : 0;
}

struct store *store_open_beside(const char *path, struct error *e)
{
    struct store *s = store_new(path);
    if (open_beside(s, e) < 0) {
        error_prefix(e, "data folder %s", path);
        store_close(s);
        return NULL;
    }
    return s;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    for (int i = 0; i < ALGORITHMS; i++)
        if (s->blobs[i] >= 0)
            close(s->blobs[i]);
    if (s->ingest >= 0)
        close(s->ingest);
    if (s->folder >= 0)
        close(s->folder); /* and with it the lock */
    if (s->room)
        room_free(s->room);
    free(s->path);
    free(s);
}

struct room *store_room(const struct store *s)
{
    return s->room;
}

int store_folder(const struct store *s)
{
    return s->folder;
}

const char *store_path(const struct store *s)
{
    return s->path;
}

/* --- held blobs ------------------------------------------------------------------------------- */

int store_get(struct store *s, const struct digest *d, int *fd, uint64_t *size_bytes,
              struct error *e)
{
    struct stat st;
    char name[DIGEST_TEXT_MAX], hex[DIGEST_HEX_MAX];
    digest_print(d, name);
    /* O_NONBLOCK: a pipe left under that name must not hold us; regular files do not mind. */
    autoclose int file = openat(blobs_of(s, d), digest_hex(d, hex),
                                O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (file < 0 && errno == ENOENT)
        return 0;
    if (file < 0 && (errno == ELOOP || errno == ENXIO || errno == ENODEV))
        return error_set(e, ERR_CORRUPT, "blob %s is not a regular file", name);
    if (file < 0)
        return error_errno(e, "open blob %s", name);
    if (fstat(file, &st) < 0)
        return error_errno(e, "stat blob %s", name);
    if (!S_ISREG(st.st_mode))
        return error_set(e, ERR_CORRUPT, "blob %s is not a regular file", name);
    *size_bytes = (uint64_t)st.st_size;
    *fd = take_fd(file);
    return 1;
}

int store_has(struct store *s, const struct digest *d, uint64_t *size_bytes)
{
    struct stat st;
    char hex[DIGEST_HEX_MAX];
    if (fstatat(blobs_of(s, d), digest_hex(d, hex), &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode))
        return 0;
    if (size_bytes)
        *size_bytes = (uint64_t)st.st_size;
    return 1;
}

int store_remove(struct store *s, const struct digest *d, struct error *e)
{
    uint64_t size_bytes = 0;
    char hex[DIGEST_HEX_MAX], name[DIGEST_TEXT_MAX];
    bool is_counted = store_has(s, d, &size_bytes);
    if (unlinkat(blobs_of(s, d), digest_hex(d, hex), 0) == 0) {
        atomic_store(&s->is_dirty[d->algorithm], true);
        if (is_counted)
            room_add_blobs(s->room, -room_of_file(size_bytes));
        return 1;
    }
    if (errno == ENOENT)
        return 0;
    return error_errno(e, "remove blob %s", digest_print(d, name));
}

/* --- on its way in ---------------------------------------------------------------------------- */

int store_partial_open(struct store *s, const struct digest *d, struct error *e)
{
    struct stat st;
    char name[NAME_BYTES];
    store_partial_name(d, "", name);
    autoclose int fd =
        openat(s->ingest, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
               BLOB_MODE);
    if (fd < 0)
        return error_errno(e, "open %s/ingest/%s", s->path, name);
    if (fstat(fd, &st) < 0)
        return error_errno(e, "stat %s/ingest/%s", s->path, name);
    if (!S_ISREG(st.st_mode))
        return error_set(e, ERR_CORRUPT, "%s/ingest/%s is not a regular file", s->path, name);
    return take_fd(fd);
}

int store_partial_read_map(struct store *s, const struct digest *d, char **bytes, size_t *length,
                           struct error *e)
{
    char name[NAME_BYTES];
    return file_read(s->ingest, store_partial_name(d, ".map", name), MAP_MAX_BYTES, bytes, length,
                     e);
}

int store_partial_write_map(struct store *s, const struct digest *d, const char *bytes,
                            size_t length, struct error *e)
{
    char name[NAME_BYTES];
    return file_replace(s->ingest, store_partial_name(d, ".map", name), bytes, length, false, e);
}

void store_partial_remove_map(struct store *s, const struct digest *d)
{
    char name[NAME_BYTES];
    unlinkat(s->ingest, store_partial_name(d, ".map", name), 0);
}

void store_partial_remove(struct store *s, const struct digest *d)
{
    char name[NAME_BYTES];
    /* The map first: data without a map is never trusted, a map without data would be wrong. */
    store_partial_remove_map(s, d);
    unlinkat(s->ingest, store_partial_name(d, "", name), 0);
    room_end(s->room, d);
}

/* --- publishing ------------------------------------------------------------------------------- */

static bool is_same_file(int folder, const char *name, const struct stat *as)
{
    struct stat st;
    return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == as->st_dev &&
           st.st_ino == as->st_ino;
}

/* The one place where a name under blobs/ comes to be: content durable, then the name. */
static int publish_as(struct store *s, const struct digest *d, int fd, int folder, const char *name,
                      struct error *e)
{
    struct stat st;
    uint64_t before = 0;
    char hex[DIGEST_HEX_MAX];
    digest_hex(d, hex);
    if (fstat(fd, &st) < 0)
        return error_errno(e, "stat");
    if (is_same_file(blobs_of(s, d), hex, &st))
        return 0; /* published before */
    /* What was verified is fd. If another file has taken its name meanwhile, that one proves
     * nothing. */
    if (!is_same_file(folder, name, &st))
        return error_set(e, ERR_IO, "%s is gone or was replaced", name);
    if (fchmod(fd, BLOB_MODE) < 0) /* whatever the umask was: other tools read this layout too */
        return error_errno(e, "set the mode of %s", name);
    if (file_sync(fd, e) < 0)
        return error_prefix(e, "%s", name);
    int64_t replaced = store_has(s, d, &before) ? room_of_file(before) : 0;
    bool is_named = renameat(folder, name, blobs_of(s, d), hex) == 0;
    if (!is_named && errno == EISDIR && quarantine_take(s, d, -1, e) == 1)
        is_named = renameat(folder, name, blobs_of(s, d), hex) == 0;
    if (!is_named)
        return error_errno(e, "rename %s into %s/blobs", name, s->path);
    room_add_blobs(s->room, room_of_file((uint64_t)st.st_size) - replaced);
    atomic_store(&s->is_dirty[d->algorithm], true);
    atomic_store(&s->is_ingest_dirty, true);
    return 0;
}

int store_publish(struct store *s, const struct digest *d, int fd, struct error *e)
{
    char name[NAME_BYTES], text[DIGEST_TEXT_MAX];
    int result = publish_as(s, d, fd, s->ingest, store_partial_name(d, "", name), e);
    /* On failure too: after an fsync that failed nobody knows which bytes are on disk, so none may
     * be taken up again. */
    store_partial_remove(s, d);
    return result < 0 ? error_prefix(e, "publish %s", digest_print(d, text)) : 0;
}

static int open_temporary(struct store *s, const struct digest *d, char name[NAME_BYTES],
                          struct error *e)
{
    for (;;) {
        char suffix[32];
        snprintf(suffix, sizeof(suffix), ".%u.new", atomic_fetch_add(&s->serial, 1u));
        int fd = openat(s->ingest, store_partial_name(d, suffix, name),
                        O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, BLOB_MODE);
        if (fd >= 0)
            return fd;
        if (errno != EEXIST) /* an earlier process may have left one */
            return error_errno(e, "create %s/ingest/%s", s->path, name);
    }
}

int store_publish_bytes(struct store *s, const struct digest *d, const void *bytes, size_t length,
                        struct error *e)
{
    char name[NAME_BYTES], text[DIGEST_TEXT_MAX];
    digest_print(d, text);
    autoclose int fd = open_temporary(s, d, name, e);
    if (fd < 0)
        return error_prefix(e, "publish %s", text);
    if (file_write_all(fd, bytes, length, 0, e) < 0 ||
        publish_as(s, d, fd, s->ingest, name, e) < 0) {
        unlinkat(s->ingest, name, 0);
        return error_prefix(e, "publish %s", text);
    }
    return 0;
}

int store_publish_staged(struct store *s, const struct digest *d, int folder, const char *name,
                         struct error *e)
{
    char text[DIGEST_TEXT_MAX];
    autoclose int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return store_has(s, d, NULL)
                   ? 0
                   : error_set(e, ERR_NOT_FOUND, "blob %s was held and went meanwhile; try again",
                               digest_print(d, text));
    if (fd < 0)
        return error_errno(e, "publish %s: open %s", digest_print(d, text), name);
    if (publish_as(s, d, fd, folder, name, e) < 0)
        return error_prefix(e, "publish %s", digest_print(d, text));
    return 0;
}

static int sync_folder(int folder, _Atomic bool *is_dirty, struct error *e)
{
    if (!atomic_exchange(is_dirty, false))
        return 0;
    if (file_sync(folder, e) == 0)
        return 0;
    atomic_store(is_dirty, true);
    return -1;
}

int store_sync(struct store *s, struct error *e)
{
    for (int i = DIGEST_SHA256; i < ALGORITHMS; i++)
        if (sync_folder(s->blobs[i], &s->is_dirty[i], e) < 0)
            return error_prefix(e, "%s/blobs/%s", s->path, store_algorithm_folders[i]);
    if (sync_folder(s->ingest, &s->is_ingest_dirty, e) < 0)
        return error_prefix(e, "%s/ingest", s->path);
    return 0;
}
