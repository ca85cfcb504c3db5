/* SPDX-License-Identifier: Apache-2.0
 * Up to SMALL bytes are read into memory; above, the file is mapped: sending from a mapping needs
 * no descriptor, no lock and no copy, and a failing disk shows as a failed send, not as a signal,
 * because only the kernel reads it. */
#include "mirror/content.h"

#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "cache/store.h"

enum { SMALL = 64 << 10, MAPPING_COST = 16 << 10 };

static struct content *make(const struct digest *d, const char *media_type)
{
    struct content *c = alloc_zero(sizeof *c);
    c->references = 1;
    c->digest = *d;
    slice_copy(slice_of(media_type), c->media_type, sizeof c->media_type);
    return c;
}

struct content *content_new(const struct digest *d, const char *media_type, const void *bytes,
                            size_t length)
{
    struct content *c = make(d, media_type);
    c->bytes = alloc_bytes(bytes, length);
    c->size_bytes = length;
    return c;
}

int content_open(struct store *s, const struct digest *d, const char *media_type,
                 struct content **out, struct error *e)
{
    autoclose int fd = -1;
    uint64_t size;
    struct digest got;
    int found = store_get(s, d, &fd, &size, e);
    if (found != 1)
        return found;
    if (size > SMALL) {
        void *at = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED)
            return error_errno(e, "map a blob");
        struct content *c = make(d, media_type);
        c->bytes = at;
        c->mapped_bytes = (size_t)size;
        c->size_bytes = size;
        *out = c;
        return 1;
    }
    autofree char *bytes = alloc_array((size_t)size + 1, 1);
    ssize_t n = file_read_some(fd, bytes, (size_t)size, 0, e);
    if (n < 0)
        return -1;
    if ((uint64_t)n != size)
        return error_set(e, ERR_CORRUPT, "a blob changed its size while it was read");
    digest_of((enum digest_algorithm)d->algorithm, bytes, (size_t)size, &got);
    if (!digest_equals(&got, d))
        return error_set(e, ERR_CORRUPT, "its bytes are not those of its digest");
    struct content *c = make(d, media_type);
    c->bytes = take(bytes);
    c->size_bytes = size;
    *out = c;
    return 1;
}

struct content *content_ref(struct content *c)
{
    __atomic_add_fetch(&c->references, 1, __ATOMIC_RELAXED);
    return c;
}

void content_unref(struct content *c)
{
    if (__atomic_sub_fetch(&c->references, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    if (c->mapped_bytes)
        munmap((void *)(uintptr_t)c->bytes, c->mapped_bytes);
    else
        free((void *)(uintptr_t)c->bytes);
    free(c);
}

bool content_is_mapped(const struct content *c)
{
    return c->mapped_bytes > 0;
}

struct content *content_read(struct content *c)
{
    __atomic_add_fetch(&c->readers, 1, __ATOMIC_RELAXED);
    return content_ref(c);
}

void content_end_read(struct content *c)
{
    __atomic_sub_fetch(&c->readers, 1, __ATOMIC_RELAXED);
    content_unref(c);
}

bool content_is_read(const struct content *c)
{
    return __atomic_load_n(&c->readers, __ATOMIC_RELAXED) > 0;
}

size_t content_cost(const struct content *c)
{
    return sizeof *c + (c->mapped_bytes ? MAPPING_COST : (size_t)c->size_bytes);
}
