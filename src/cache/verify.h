/* SPDX-License-Identifier: Apache-2.0
 * What `tranship verify` does, beside a server or without one: all that is held, hashed once at
 * full speed in the order of the digests, which changes nothing by itself; and files and rows made
 * to agree, which is for who writes the index. Waits for the disk. */
#ifndef CACHE_VERIFY_H
#define CACHE_VERIFY_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "oci/digest.h"

struct error;
struct keep;
struct store;

struct verify_count {
    uint64_t blobs, bytes;
};

/* What was found wrong. */
struct verify_wrong {
    struct digest digest;
    uint64_t size_bytes; /* that its file has */
    const char *reason;
    int fd; /* the file that was hashed, borrowed; -1: it is none */
};

struct verify_options {
    struct store *store;
    void (*wrong)(void *cls, const struct verify_wrong *w);
    void (*progress)(void *cls, const struct verify_count *done, const struct verify_count *all);
    void *cls;
};

/* *right: what is as its name says. 0, or -1 if not all could be looked at. */
int verify_all(const struct verify_options *o, struct verify_count *right, struct error *e);

/* A keep_work (keep.h), in slices: 1, call it again. The report: "adopted" files that had no row,
 * and rows "lost" that had no file. The request is not looked at. */
int verify_agree(const struct keep *k, struct slice request, struct str *report, struct error *e);

#endif
