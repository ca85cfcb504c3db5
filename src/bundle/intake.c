/* SPDX-License-Identifier: Apache-2.0
 * What every reader of an archive asks: is there room, is it held, what does it say. */
#include "bundle/intake.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "bundle/stage.h"
#include "cache/store.h"
#include "oci/manifest.h"

void intake_note(const struct intake *in, const char *format, ...)
{
    char line[600];
    va_list list;
    if (!in->options->note)
        return;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    in->options->note(line, in->options->cls);
}

int intake_check_space(const struct intake *in, uint64_t bytes, struct error *e)
{
    struct statvfs v;
    if (fstatvfs(store_folder(in->store), &v) < 0)
        return error_errno(e, "data folder");
    uint64_t free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    if (bytes && (free_bytes < INTAKE_RESERVE_BYTES || bytes > free_bytes - INTAKE_RESERVE_BYTES))
        return error_set(e, ERR_NO_SPACE, "needs %.1f MB, the data folder has %.1f MB left",
                         (double)bytes / 1e6, (double)free_bytes / 1e6);
    return 0;
}

bool intake_is_held(const struct intake *in, const struct digest *d, uint64_t size_bytes)
{
    uint64_t found = 0;
    return store_has(in->store, d, &found) && found == size_bytes;
}

static bool is_manifest(const struct intake *in, const struct digest *d)
{
    for (size_t i = 0; i < in->contents.repository_count; i++)
        if (digests_has(&in->contents.repositories[i].manifests, d))
            return true;
    return false;
}

bool intake_wants(const struct intake *in, const struct digest *d)
{
    return !in->options->rehearsal || is_manifest(in, d);
}

int intake_read(const struct intake *in, const struct digest *d, size_t max, char **bytes,
                size_t *length, struct error *e)
{
    char name[DIGEST_TEXT_MAX];
    uint64_t size_bytes = 0;
    autoclose int fd = -1;
    int got = stage_get(in->stage, in->store, d, &fd, &size_bytes, e);
    if (got < 1)
        return got;
    if (size_bytes > max)
        return error_set(e, ERR_CORRUPT, "%s is too large", digest_print(d, name));
    autofree char *text = alloc_zero(size_bytes + 1);
    ssize_t n = file_read_some(fd, text, size_bytes, 0, e);
    if (n < 0)
        return -1;
    *bytes = take(text);
    *length = (size_t)n;
    return 1;
}

int intake_read_manifest(const struct intake *in, const struct digest *d, const char *media_type,
                         struct manifest *m, struct error *e)
{
    char name[DIGEST_TEXT_MAX];
    size_t length = 0;
    autofree char *bytes = NULL;
    int got = intake_read(in, d, MANIFEST_MAX_BYTES, &bytes, &length, e);
    if (got == 1 && manifest_parse(*media_type ? media_type : NULL, bytes, length, m, e) < 0)
        return error_prefix(e, "manifest %s", digest_print(d, name));
    return got;
}
