/* SPDX-License-Identifier: Apache-2.0
 * libarchive reads the tar; what it gives is believed in nothing. */
#include "bundle/members.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "bundle/intake.h"
#include "bundle/stage.h"

/* --- the table -------------------------------------------------------------------------------- */

static struct member *find(const struct members *m, const char *name)
{
    struct member *found = NULL;
    HASH_FIND_STR(m->table, name, found);
    return found;
}

const struct member *members_find(const struct members *m, const char *name)
{
    const struct member *found = find(m, name);
    for (unsigned i = 0; found && found->target && i < MEMBER_LINKS_MAX; i++)
        found = find(m, found->target);
    return found && !found->target ? found : NULL;
}

void members_fini(struct members *m)
{
    struct member *one = m->table, *next;
    HASH_CLEAR(hh, m->table); /* the table only: the members are still one after the other */
    for (; one; one = next) {
        next = one->hh.next;
        free(one->name);
        free(one->target);
        free(one);
    }
    *m = (struct members){0};
}

static int add(struct members *m, const char *name, const struct digest *d, uint64_t size_bytes,
               const char *target, struct error *e)
{
    struct member *there = find(m, name);
    if (there) {
        bool is_same = target ? there->target && strcmp(there->target, target) == 0
                              : !there->target && digest_equals(&there->digest, d);
        return is_same ? 0 : error_set(e, ERR_CORRUPT, "two members are named %.100s", name);
    }
    struct member *one = alloc_zero(sizeof *one);
    one->name = alloc_string(name);
    one->target = target ? alloc_string(target) : NULL;
    one->size_bytes = size_bytes;
    if (d)
        one->digest = *d;
    HASH_ADD_KEYPTR(hh, m->table, one->name, strlen(one->name), one);
    return 0;
}

static int count_one(struct members *m, struct error *e)
{
    if (m->count++ < MEMBERS_MAX)
        return 0;
    return error_set(e, ERR_CORRUPT, "has more than %u members", MEMBERS_MAX);
}

/* --- names ------------------------------------------------------------------------------------ */

/* "./a//b/" as "a/b" into out; false if it points outside or is too long. "" for the folder itself.
 */
static bool clean_name(const char *name, char out[MEMBER_PATH_MAX])
{
    size_t used = 0;
    if (*name == '/')
        return false;
    while (*name) {
        size_t n = strcspn(name, "/");
        bool is_dot = n == 0 || (n == 1 && name[0] == '.');
        if (n == 2 && name[0] == '.' && name[1] == '.')
            return false;
        if (!is_dot) {
            if (used + n + 2 > MEMBER_PATH_MAX)
                return false;
            if (used)
                out[used++] = '/';
            memcpy(out + used, name, n);
            used += n;
        }
        name += n + (name[n] == '/');
    }
    out[used] = 0;
    return true;
}

/* A link's target from the folder that it stands in, with ".." as far as the archive's top. */
static bool resolve(const char *link, const char *target, char out[MEMBER_PATH_MAX])
{
    char base[MEMBER_PATH_MAX];
    const char *slash = strrchr(link, '/');
    size_t n = slash ? (size_t)(slash - link) : 0;
    memcpy(base, link, n);
    base[n] = 0;
    while (strncmp(target, "../", 3) == 0) {
        char *up = strrchr(base, '/');
        if (!base[0])
            return false;
        *(up ? up : base) = 0;
        target += 3;
    }
    if (*target == '/' || strlen(base) + strlen(target) + 2 > MEMBER_PATH_MAX)
        return false;
    autofree char *joined = alloc_format("%s%s%s", base, base[0] ? "/" : "", target);
    return clean_name(joined, out);
}

/* The digest that the name promises: 1; 0 it promises none. */
static int promised(const char *name, struct digest *d)
{
    struct slice rest = slice_of(name), algorithm, hex;
    if (!slice_starts(rest, "blobs/"))
        return 0;
    rest = slice_sub(rest, 6, rest.length);
    return slice_cut(rest, '/', &algorithm, &hex) && digest_from_parts(algorithm, hex, d);
}

/* --- content ---------------------------------------------------------------------------------- */

struct content {
    ssize_t (*read)(void *cls, void *into, size_t max, struct error *e);
    void *cls;
    uint64_t size_bytes;
};

static int fill(struct intake *in, struct arrival *a, const struct content *c, struct error *e)
{
    for (;;) {
        ssize_t n = c->read(c->cls, in->buffer, INTAKE_READ_BYTES, e);
        if (n <= 0)
            return (int)n;
        if (a->at + (uint64_t)n > c->size_bytes)
            return error_set(e, ERR_CORRUPT, "a member is larger than it says");
        if (arrival_write(a, in->buffer, (size_t)n, e) < 0)
            return -1;
    }
}

/* Nothing is written once: very many empty members cost no file each. */
static bool is_empty_and_staged(const struct intake *in, const struct content *c)
{
    struct digest d;
    if (c->size_bytes > 0)
        return false;
    digest_of(DIGEST_SHA256, "", 0, &d);
    return stage_has(in->stage, &d, NULL);
}

static int take_content(struct members *m, struct intake *in, const char *name,
                        const struct content *c, struct error *e)
{
    struct arrival a;
    struct digest wanted, found;
    bool is_promised = promised(name, &wanted) == 1;
    bool is_held =
        is_promised ? intake_is_held(in, &wanted, c->size_bytes) : is_empty_and_staged(in, c);
    if (c->size_bytes > BLOB_MAX_BYTES)
        return error_set(e, ERR_CORRUPT, "%.100s claims %" PRIu64 " bytes", name, c->size_bytes);
    if (!is_held && intake_check_space(in, c->size_bytes, e) < 0)
        return error_prefix(e, "%.100s", name);
    if (arrival_begin(&a, is_held ? NULL : in->stage,
                      is_promised ? (enum digest_algorithm)wanted.algorithm : DIGEST_SHA256, e) < 0)
        return -1;
    int result = fill(in, &a, c, e);
    if (result == 0 && a.at != c->size_bytes)
        result = error_set(e, ERR_CORRUPT, "%.100s is cut", name);
    if (result < 0) {
        arrival_drop(&a);
        return -1;
    }
    if (arrival_end(&a, is_promised ? &wanted : NULL, &found, e) < 0)
        return -1;
    return add(m, name, &found, c->size_bytes, NULL, e);
}

/* --- a tar ------------------------------------------------------------------------------------ */

static void free_archive(struct archive **a)
{
    archive_read_free(*a);
}
#define autoarchive __attribute__((cleanup(free_archive)))

static int broken(struct archive *a, struct error *e)
{
    const char *why = archive_error_string(a);
    return error_set(e, ERR_CORRUPT, "cannot be read as a tar archive: %.150s",
                     why ? why : "unknown reason");
}

static ssize_t read_tar(void *cls, void *into, size_t max, struct error *e)
{
    struct archive *a = cls;
    ssize_t n = archive_read_data(a, into, max);
    uint64_t packed = (uint64_t)archive_filter_bytes(a, -1);
    uint64_t unpacked = (uint64_t)archive_filter_bytes(a, 0);
    if (n < 0)
        return broken(a, e);
    if (unpacked > UNPACKED_FREE_BYTES && unpacked / UNPACKED_MAX_TIMES > packed)
        return error_set(e, ERR_CORRUPT, "unpacks to more than %u times its size",
                         UNPACKED_MAX_TIMES);
    return n;
}

static int take_link(struct members *m, struct archive_entry *entry, const char *name,
                     struct error *e)
{
    char target[MEMBER_PATH_MAX];
    const char *to = archive_entry_symlink(entry);
    if (!to || !resolve(name, to, target))
        return error_set(e, ERR_CORRUPT, "%.100s is a link that points outside", name);
    return add(m, name, NULL, 0, target, e);
}

static int take_entry(struct members *m, struct intake *in, struct archive *a,
                      struct archive_entry *entry, struct error *e)
{
    char name[MEMBER_PATH_MAX];
    const char *said = archive_entry_pathname(entry);
    if (!said)
        said = archive_entry_pathname_utf8(entry);
    if (!said || !clean_name(said, name))
        return error_set(e, ERR_CORRUPT, "a member's name points outside or is too long: %.80s",
                         said ? said : "not to be read");
    if (archive_entry_hardlink(entry))
        return error_set(e, ERR_CORRUPT, "%.100s is a hard link", name);
    switch (archive_entry_filetype(entry)) {
    case AE_IFDIR:
        return 0;
    case AE_IFLNK:
        return take_link(m, entry, name, e);
    case AE_IFREG:
        break;
    default:
        return error_set(e, ERR_CORRUPT, "%.100s is neither a file nor a folder", name);
    }
    int64_t size_bytes = archive_entry_size(entry);
    if (size_bytes < 0 || !name[0])
        return error_set(e, ERR_CORRUPT, "a member has no size or no name");
    return take_content(
        m, in, name,
        &(struct content){.read = read_tar, .cls = a, .size_bytes = (uint64_t)size_bytes}, e);
}

int members_read(struct members *m, struct intake *in, const char *path, struct error *e)
{
    autoarchive struct archive *a = archive_read_new();
    if (!a || archive_read_support_filter_gzip(a) != ARCHIVE_OK ||
        archive_read_support_filter_zstd(a) != ARCHIVE_OK ||
        archive_read_support_format_tar(a) != ARCHIVE_OK ||
        archive_read_open_filename(a, path, 1 << 16) != ARCHIVE_OK)
        return broken(a, e);
    for (;;) {
        struct archive_entry *entry = NULL;
        int got = archive_read_next_header(a, &entry);
        if (got == ARCHIVE_EOF)
            break;
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
            return broken(a, e);
        if (count_one(m, e) < 0 || take_entry(m, in, a, entry, e) < 0)
            return -1;
    }
    return m->count ? 0 : error_set(e, ERR_CORRUPT, "is empty");
}

/* --- a folder --------------------------------------------------------------------------------- */

struct opened {
    int fd;
    uint64_t at;
};

static ssize_t read_file(void *cls, void *into, size_t max, struct error *e)
{
    struct opened *o = cls;
    ssize_t n = file_read_some(o->fd, into, max, o->at, e);
    if (n > 0)
        o->at += (uint64_t)n;
    return n;
}

/* What is not there, and what is no file, is passed over. */
static int take_file(struct members *m, struct intake *in, int folder, const char *name,
                     struct error *e)
{
    int opened = file_open_regular(folder, name, e);
    if (opened == -1)
        return -1;
    if (opened < 0)
        return 0;
    autoclose int fd = opened;
    struct opened o = {.fd = fd};
    off_t size = lseek(fd, 0, SEEK_END);
    struct content c = {.read = read_file, .cls = &o, .size_bytes = (uint64_t)size};
    if (size < 0)
        return error_errno(e, "size of %s", name);
    return count_one(m, e) < 0 ? -1 : take_content(m, in, name, &c, e);
}

static int take_blobs(struct members *m, struct intake *in, int folder, const char *algorithm,
                      struct error *e)
{
    autofree char *path = alloc_format("blobs/%s", algorithm);
    int fd = openat(folder, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    int result = 0;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return errno == ENOENT ? 0 : error_errno(e, "list %s", path);
    }
    const struct dirent *entry;
    while (result == 0 && (entry = readdir(dir))) {
        struct digest d;
        if (!digest_from_parts(slice_of(algorithm), slice_of(entry->d_name), &d))
            continue;
        autofree char *name = alloc_format("%s/%s", path, entry->d_name);
        result = take_file(m, in, folder, name, e);
    }
    closedir(dir);
    return result;
}

int members_read_folder(struct members *m, struct intake *in, int folder, struct error *e)
{
    static const char *const files[] = {"oci-layout", "index.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (take_file(m, in, folder, files[i], e) < 0)
            return -1;
    return take_blobs(m, in, folder, "sha256", e) < 0 ? -1 : take_blobs(m, in, folder, "sha512", e);
}
