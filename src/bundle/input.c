/* SPDX-License-Identifier: Apache-2.0
 * Reads plain files itself; libarchive's "raw" format is only asked where something must be
 * unpacked. */
#include "bundle/input.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"

struct input {
    int fd;
    uint64_t at, size_bytes; /* at: of what was given out; the size is the file's */
    struct archive *unpack;  /* NULL: plain */
};

static bool is_packed(int fd)
{
    static const unsigned char gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};
    unsigned char first[4] = {0};
    ssize_t n = file_read_some(fd, first, sizeof first, 0, NULL);
    return n == (ssize_t)sizeof first &&
           (memcmp(first, gzip, sizeof gzip) == 0 || memcmp(first, zstd, sizeof zstd) == 0);
}

static int start_unpacking(struct input *in, struct error *e)
{
    struct archive_entry *entry = NULL;
    in->unpack = archive_read_new();
    if (!in->unpack || archive_read_support_filter_gzip(in->unpack) != ARCHIVE_OK ||
        archive_read_support_filter_zstd(in->unpack) != ARCHIVE_OK ||
        archive_read_support_format_raw(in->unpack) != ARCHIVE_OK ||
        archive_read_open_fd(in->unpack, in->fd, 1 << 16) != ARCHIVE_OK ||
        archive_read_next_header(in->unpack, &entry) != ARCHIVE_OK)
        return error_set(e, ERR_CORRUPT, "cannot be unpacked: %s",
                         in->unpack ? archive_error_string(in->unpack) : "no memory");
    return 0;
}

static int open_file(struct input *in, const char *path, struct error *e)
{
    struct stat st;
    in->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (in->fd < 0 && errno == ENOENT)
        return error_set(e, ERR_NOT_FOUND, "no such file");
    if (in->fd < 0 || fstat(in->fd, &st) < 0)
        return error_errno(e, "open");
    if (!S_ISREG(st.st_mode))
        return error_set(e, ERR_IO, "is no regular file");
    in->size_bytes = (uint64_t)st.st_size;
    return is_packed(in->fd) ? start_unpacking(in, e) : 0;
}

struct input *input_open(const char *path, struct error *e)
{
    struct input *in = alloc_zero(sizeof *in);
    in->fd = -1;
    if (open_file(in, path, e) == 0)
        return in;
    input_close(in);
    return NULL;
}

void input_close(struct input *in)
{
    if (!in)
        return;
    if (in->unpack)
        archive_read_free(in->unpack);
    if (in->fd >= 0)
        close(in->fd);
    free(in);
}

static ssize_t unpack_some(struct input *in, char *into, size_t max, struct error *e)
{
    size_t done = 0;
    while (done < max) {
        ssize_t n = archive_read_data(in->unpack, into + done, max - done);
        if (n < 0)
            return error_set(e, ERR_CORRUPT, "cannot be unpacked: %s",
                             archive_error_string(in->unpack));
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

ssize_t input_read_some(struct input *in, void *into, size_t max, struct error *e)
{
    ssize_t n =
        in->unpack ? unpack_some(in, into, max, e) : file_read_some(in->fd, into, max, in->at, e);
    if (n > 0)
        in->at += (uint64_t)n;
    return n;
}

int input_read(struct input *in, void *into, size_t length, struct error *e)
{
    ssize_t n = input_read_some(in, into, length, e);
    if (n >= 0 && (size_t)n < length)
        return error_set(e, ERR_CORRUPT, "is cut after %" PRIu64 " bytes", in->at);
    return n < 0 ? -1 : 0;
}

int input_expect(struct input *in, const void *bytes, size_t length, struct error *e)
{
    char found[4096];
    const char *wanted = bytes;
    while (length) {
        size_t n = length < sizeof found ? length : sizeof found;
        uint64_t at = in->at;
        if (input_read(in, found, n, e) < 0)
            return -1;
        if (memcmp(found, wanted, n) != 0)
            return error_set(e, ERR_CORRUPT, "is not as it was written, at byte %" PRIu64, at);
        wanted += n;
        length -= n;
    }
    return 0;
}

bool input_skip(struct input *in, uint64_t length)
{
    if (in->unpack || length > in->size_bytes - in->at)
        return false;
    in->at += length;
    return true;
}
