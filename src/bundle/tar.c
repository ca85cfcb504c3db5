/* SPDX-License-Identifier: Apache-2.0
 * ustar (POSIX.1-1988) and pax extended headers (POSIX.1-2001). */
#include "bundle/tar.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define NAME_BYTES 100
#define NAME_MAX_BYTES 255
#define SIZE_MAX_BYTES UINT64_C(077777777777) /* eleven octal digits */

struct header {
    char name[NAME_BYTES], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type;
    char link[100], magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155];
    char unused[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is one block");

static void set_octal(char *field, size_t bytes, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%0*" PRIo64, (int)bytes - 1, value);
    memcpy(field, text, bytes);
}

static void add_block(struct str *out, const char *name, char type, uint64_t size_bytes)
{
    struct header h = {.type = type, .magic = "ustar", .version = {'0', '0'}};
    size_t length = strlen(name);
    unsigned sum = 0;
    memcpy(h.name, name, length < NAME_BYTES ? length : NAME_BYTES - 1);
    set_octal(h.mode, sizeof h.mode, 0644);
    set_octal(h.uid, sizeof h.uid, 0);
    set_octal(h.gid, sizeof h.gid, 0);
    set_octal(h.size, sizeof h.size, size_bytes);
    set_octal(h.mtime, sizeof h.mtime, 0);
    set_octal(h.major, sizeof h.major, 0);
    set_octal(h.minor, sizeof h.minor, 0);
    memset(h.sum, ' ', sizeof h.sum);
    for (size_t i = 0; i < sizeof h; i++)
        sum += ((const unsigned char *)&h)[i];
    set_octal(h.sum, sizeof h.sum - 1, sum); /* six digits, 0, space */
    str_add_bytes(out, &h, sizeof h);
}

static void add_zeros(struct str *out, size_t count)
{
    static const char zeros[TAR_BLOCK];
    str_add_bytes(out, zeros, count);
}

/* "LENGTH KEY=VALUE\n", where the length counts its own digits. */
static void add_record(struct str *out, const char *key, const char *value)
{
    size_t rest = strlen(key) + strlen(value) + 3, length = rest + 1;
    for (size_t digits = 1, limit = 10; length >= limit; digits++, limit *= 10)
        length = rest + digits + 1;
    str_format(out, "%zu %s=%s\n", length, key, value);
}

static bool wants_pax(const char *name, uint64_t size_bytes)
{
    return strlen(name) >= NAME_BYTES || size_bytes > SIZE_MAX_BYTES;
}

void tar_add_header(struct str *out, const char *name, uint64_t size_bytes)
{
    assert(strlen(name) <= NAME_MAX_BYTES);
    if (wants_pax(name, size_bytes)) {
        autostr struct str records = {0};
        char digits[24];
        snprintf(digits, sizeof digits, "%" PRIu64, size_bytes);
        if (strlen(name) >= NAME_BYTES)
            add_record(&records, "path", name);
        if (size_bytes > SIZE_MAX_BYTES)
            add_record(&records, "size", digits);
        add_block(out, "pax", 'x', records.length);
        str_add_bytes(out, records.text, records.length);
        add_zeros(out, tar_padding(records.length));
    }
    add_block(out, name, '0', size_bytes > SIZE_MAX_BYTES ? 0 : size_bytes);
}

size_t tar_padding(uint64_t size_bytes)
{
    return (size_t)((TAR_BLOCK - size_bytes % TAR_BLOCK) % TAR_BLOCK);
}

/* Records are shorter than a block: at most a name of 255 bytes and a size. */
uint64_t tar_member_bytes(const char *name, uint64_t size_bytes)
{
    uint64_t header_bytes = wants_pax(name, size_bytes) ? 3 * TAR_BLOCK : TAR_BLOCK;
    return header_bytes + size_bytes + tar_padding(size_bytes);
}
