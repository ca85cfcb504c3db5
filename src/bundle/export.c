/* SPDX-License-Identifier: Apache-2.0
 * Selects, says what the bundle is, and has it written. A file is written beside its place and
 * renamed when all volumes are durable; what a killed export left beside it is written over. */
#include "bundle/export.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
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
#include "bundle/contents.h"
#include "bundle/layout.h"
#include "bundle/receipt.h"
#include "bundle/tar.h"
#include "bundle/volumes.h"
#include "cache/store.h"
#include "oci/signature.h"

#define COPY_BYTES ((size_t)1 << 20)

struct making {
    const struct export_options *options;
    struct store *store;
    struct contents contents;
    struct str text;                      /* bundle.json */
    struct str files[CONTENTS_FILES_MAX]; /* their texts */
    uint8_t signature[SIGNATURE_BYTES];
    struct volumes volumes;
    char *buffer; /* COPY_BYTES */
};

/* --- what is in it ---------------------------------------------------------------------------- */

static void add_file(struct making *m, const char *name, const char *text, size_t length)
{
    str_add_bytes(&m->files[m->contents.file_count], text, length);
    contents_add_file(&m->contents, name, text, length);
}

static int add_files(struct making *m, const struct selection *s, struct error *e)
{
    autostr struct str index = {0}, docker = {0};
    layout_print_index(s, &index);
    if (layout_print_docker(s, m->store, &docker, e) < 0)
        return -1;
    add_file(m, "oci-layout", LAYOUT_TEXT, strlen(LAYOUT_TEXT));
    add_file(m, "index.json", str_text(&index), index.length);
    if (docker.length)
        add_file(m, "manifest.json", docker.text, docker.length);
    return 0;
}

static void say_receipt(struct contents *c, const struct receipt *since)
{
    if (!since)
        return;
    c->receipt = since->digest;
    c->receipt_site = alloc_string(since->site);
    c->receipt_at = alloc_string(since->created_at);
}

static int compose(struct making *m, struct index_reader *r, struct selection *s, struct error *e)
{
    char now[24];
    struct contents *c = &m->contents;
    const struct export_options *o = m->options;
    c->site = alloc_string(o->site);
    c->created_at = alloc_string(clock_format(clock_wall_s(), now));
    c->volume_bytes = o->volume_bytes;
    say_receipt(c, o->select.since);
    if (select_images(&o->select, m->store, r, s, c, e) < 0)
        return -1;
    if (!c->repository_count)
        return error_set(e, ERR_NOT_FOUND, "nothing to export: no image is held whole");
    if (add_files(m, s, e) < 0)
        return -1;
    contents_print(c, &m->text);
    if (m->text.length > CONTENTS_MAX_BYTES)
        return error_set(e, ERR_USAGE, "too many blobs for one bundle: export fewer images");
    if (o->private_pem.length &&
        signature_make(o->private_pem, m->text.text, m->text.length, m->signature, e) < 0)
        return error_prefix(e, "the key to sign with");
    return volumes_plan(c, m->text.length, &m->volumes, e);
}

/* --- bytes out -------------------------------------------------------------------------------- */

struct sink {
    int fd;
    uint64_t at;
};

static int put(struct sink *s, const void *bytes, size_t length, struct error *e)
{
    if (file_write_all(s->fd, bytes, length, s->at, e) < 0)
        return -1;
    s->at += length;
    return 0;
}

static int put_blob(struct making *m, struct sink *s, const struct piece *p, struct error *e)
{
    uint64_t size_bytes = 0, done = 0;
    char name[DIGEST_TEXT_MAX];
    autoclose int fd = -1;
    struct digest counted;
    const struct digest *d = &m->contents.blobs.digests.items[p->blob];
    digest_print(d, name);
    int got = store_get(m->store, d, &fd, &size_bytes, e);
    if (got < 1 || size_bytes != m->contents.blobs.sizes[p->blob])
        return got < 0 ? -1 : error_set(e, ERR_NOT_FOUND, "blob %s went away meanwhile", name);
    struct hasher *h = hasher_new((enum digest_algorithm)d->algorithm);
    int result = 0;
    while (result == 0 && done < p->length_bytes) {
        uint64_t left = p->length_bytes - done;
        size_t want = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
        ssize_t n = file_read_some(fd, m->buffer, want, p->offset + done, e);
        if (n != (ssize_t)want)
            result = n < 0 ? -1 : error_set(e, ERR_IO, "blob %s was cut meanwhile", name);
        else
            result = put(s, m->buffer, want, e);
        hasher_update(h, m->buffer, want);
        done += want;
    }
    hasher_final(h, &counted);
    hasher_free(h);
    /* Of a piece nobody knows a digest: whoever puts the pieces together finds out. */
    if (result == 0 && p->is_whole && !digest_equals(&counted, d))
        return error_set(e, ERR_CORRUPT, "blob %s is not what its name says", name);
    return result;
}

static int put_padding(struct sink *s, uint64_t size_bytes, struct error *e)
{
    static const char zeros[TAR_BLOCK];
    return put(s, zeros, tar_padding(size_bytes), e);
}

static int put_header(struct sink *s, const char *name, uint64_t size_bytes, struct error *e)
{
    autostr struct str header = {0};
    tar_add_header(&header, name, size_bytes);
    return put(s, header.text, header.length, e);
}

static int put_member(struct sink *s, const char *name, const void *bytes, size_t length,
                      struct error *e)
{
    if (put_header(s, name, length, e) < 0 || put(s, bytes, length, e) < 0)
        return -1;
    return put_padding(s, length, e);
}

static int put_head(struct making *m, struct sink *s, size_t volume, struct error *e)
{
    char which[32];
    volume_text(volume, m->volumes.count, which);
    if (put_member(s, MEMBER_CONTENTS, m->text.text, m->text.length, e) < 0)
        return -1;
    if (m->options->private_pem.length &&
        put_member(s, MEMBER_SIGNATURE, m->signature, sizeof m->signature, e) < 0)
        return -1;
    if (put_member(s, MEMBER_VOLUME, which, strlen(which), e) < 0)
        return -1;
    for (size_t i = 0; i < m->contents.file_count; i++)
        if (put_member(s, m->contents.files[i].name, str_text(&m->files[i]), m->files[i].length,
                       e) < 0)
            return -1;
    return 0;
}

static int put_volume(struct making *m, struct sink *s, size_t volume, struct error *e)
{
    static const char zeros[TAR_END_BYTES];
    if (put_head(m, s, volume, e) < 0)
        return -1;
    for (size_t i = volumes_first(&m->volumes, volume); i < m->volumes.ends[volume]; i++) {
        char name[MEMBER_NAME_MAX];
        const struct piece *p = &m->volumes.pieces[i];
        piece_name(&m->contents, p, name);
        if (put_header(s, name, p->length_bytes, e) < 0 || put_blob(m, s, p, e) < 0 ||
            put_padding(s, p->length_bytes, e) < 0)
            return -1;
    }
    return put(s, zeros, sizeof zeros, e) < 0 ? -1 : file_sync(s->fd, e);
}

/* --- files ------------------------------------------------------------------------------------ */

static char *volume_path(const struct making *m, size_t volume, const char *suffix)
{
    if (m->volumes.count == 1)
        return alloc_format("%s%s", m->options->output, suffix);
    return alloc_format("%s.%zu%s", m->options->output, volume + 1, suffix);
}

static int write_volume(struct making *m, size_t volume, struct error *e)
{
    autofree char *path = volume_path(m, volume, ".part");
    struct sink s = {.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644)};
    if (s.fd < 0)
        return error_errno(e, "create %s", path);
    int result = put_volume(m, &s, volume, e);
    close(s.fd);
    return result < 0 ? error_prefix(e, "%s", path) : 0;
}

static int write_volumes(struct making *m, struct error *e)
{
    struct stat st;
    int result = 0;
    if (stat(m->options->output, &st) == 0 && !S_ISREG(st.st_mode))
        return error_set(e, ERR_USAGE, "%s is no regular file", m->options->output);
    for (size_t i = 0; result == 0 && i < m->volumes.count; i++)
        result = write_volume(m, i, e);
    for (size_t i = 0; i < m->volumes.count; i++) {
        autofree char *from = volume_path(m, i, ".part"), *to = volume_path(m, i, "");
        if (result == 0 && rename(from, to) < 0)
            result = error_errno(e, "rename %s", from);
        if (result < 0)
            unlink(from);
    }
    return result;
}

/* --- a folder --------------------------------------------------------------------------------- */

static int write_blob_file(struct making *m, int folder, const struct piece *p, struct error *e)
{
    char name[MEMBER_NAME_MAX];
    piece_name(&m->contents, p, name);
    struct sink s = {
        .fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644)};
    if (s.fd < 0)
        return error_errno(e, "create %s", name);
    int result = put_blob(m, &s, p, e);
    if (result == 0)
        result = file_sync(s.fd, e);
    close(s.fd);
    return result;
}

static int write_files(struct making *m, int folder, struct error *e)
{
    char which[32];
    volume_text(0, 1, which);
    if (file_replace(folder, MEMBER_CONTENTS, m->text.text, m->text.length, true, e) < 0 ||
        file_replace(folder, MEMBER_VOLUME, which, strlen(which), true, e) < 0)
        return -1;
    if (m->options->private_pem.length &&
        file_replace(folder, MEMBER_SIGNATURE, m->signature, sizeof m->signature, true, e) < 0)
        return -1;
    for (size_t i = 0; i < m->contents.file_count; i++)
        if (file_replace(folder, m->contents.files[i].name, str_text(&m->files[i]),
                         m->files[i].length, true, e) < 0)
            return -1;
    return 0;
}

static int fill_folder(struct making *m, int folder, struct error *e)
{
    static const char *const inside[] = {"tranship", "blobs", "blobs/sha256", "blobs/sha512"};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
        if (mkdirat(folder, inside[i], 0755) < 0)
            return error_errno(e, "make folder %s", inside[i]);
    for (size_t i = 0; i < m->volumes.piece_count; i++)
        if (write_blob_file(m, folder, &m->volumes.pieces[i], e) < 0)
            return -1;
    return write_files(m, folder, e);
}

static bool is_of_an_export(const char *name)
{
    static const char *const known[] = {".",          "..",         "tranship",     "blobs",
                                        "oci-layout", "index.json", "manifest.json"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i]) == 0)
            return true;
    return name[0] == '.' && slice_ends(slice_of(name), ".tmp");
}

static int remove_below(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind;
    return at->level > 0 ? remove(path) : 0;
}

static int empty_folder(const char *path)
{
    return nftw(path, remove_below, 16, FTW_DEPTH | FTW_PHYS);
}

/* What a killed export left there goes; what is somebody else's stays. File systems that know no
 * locks of folders are written to without. */
static int clear_part(int folder, const char *part, struct error *e)
{
    if (flock(folder, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return error_set(e, ERR_BUSY, "another export writes %s", part);
    autoclosedir DIR *dir = file_list(folder, ".");
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (!is_of_an_export(entry->d_name))
            return error_set(e, ERR_USAGE, "%s has %.100s in it, which no export left", part,
                             entry->d_name);
    return dir && empty_folder(part) == 0 ? 0 : error_errno(e, "empty folder %s", part);
}

/* Taking the place of an empty folder is one step; of one with something in it the kernel refuses.
 */
static int write_folder(struct making *m, struct error *e)
{
    autofree char *to = alloc_string(m->options->output);
    for (size_t n = strlen(to); n > 1 && to[n - 1] == '/'; n--)
        to[n - 1] = 0;
    autofree char *part = alloc_format("%s.part", to);
    if (mkdir(part, 0755) < 0 && errno != EEXIST)
        return error_errno(e, "make folder %s", part);
    autoclose int folder = file_open_folder(AT_FDCWD, part, false, e);
    if (folder < 0 || clear_part(folder, part, e) < 0)
        return -1;
    int result = fill_folder(m, folder, e);
    if (result < 0)
        error_prefix(e, "%s", part);
    else if (rename(part, to) < 0)
        result = errno == ENOTEMPTY || errno == EEXIST
                     ? error_set(e, ERR_USAGE, "folder %s is not empty", to)
                     : error_errno(e, "rename %s to %s", part, to);
    if (result < 0 && empty_folder(part) == 0)
        rmdir(part);
    return result;
}

/* --- all -------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
    struct stat st;
    return slice_ends(slice_of(path), "/") || (stat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

static int write_out(struct making *m, struct error *e)
{
    if (!is_folder(m->options->output))
        return write_volumes(m, e);
    if (m->options->volume_bytes)
        return error_set(e, ERR_USAGE, "a folder is not split into volumes");
    return write_folder(m, e);
}

int export_write(const struct export_options *o, struct store *s, struct index_reader *r,
                 struct export_result *out, struct error *e)
{
    struct making m = {.options = o, .store = s, .buffer = alloc_zero(COPY_BYTES)};
    struct selection selected = {0};
    int result = compose(&m, r, &selected, e);
    if (result == 0)
        result = write_out(&m, e);
    if (result == 0)
        *out = (struct export_result){.images = selected.count,
                                      .blobs = m.contents.blobs.digests.count,
                                      .absent = m.contents.absent.digests.count,
                                      .volumes = m.volumes.count,
                                      .blob_bytes = blob_list_bytes(&m.contents.blobs),
                                      .absent_bytes = blob_list_bytes(&m.contents.absent)};
    selection_fini(&selected);
    contents_fini(&m.contents);
    volumes_fini(&m.volumes);
    str_fini(&m.text);
    for (size_t i = 0; i < CONTENTS_FILES_MAX; i++)
        str_fini(&m.files[i]);
    free(m.buffer);
    return result;
}
