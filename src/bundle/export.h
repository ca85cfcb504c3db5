/* SPDX-License-Identifier: Apache-2.0
 * Writes a bundle (docs/air-gap.md) from what the store holds: a file, a folder or volumes. Each
 * blob is hashed on its way out; memory does not grow with sizes. Nothing is seen under the names
 * asked for until all of it is whole. Beside a running mirror it only reads. Waits for the disk. */
#ifndef BUNDLE_EXPORT_H
#define BUNDLE_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "bundle/select.h"

struct export_options {
    struct select_options select;
    const char *output; /* a file, whose place is taken; a folder if it is one or ends in "/" */
    const char *site;
    struct slice private_pem; /* empty: not signed */
    uint64_t volume_bytes;    /* 0: one file of any size */
};

struct export_result {
    size_t images, blobs, absent, volumes;
    uint64_t blob_bytes, absent_bytes;
};

/* 0 or -1. */
int export_write(const struct export_options *o, struct store *s, struct index_reader *r,
                 struct export_result *out, struct error *e);

#endif
