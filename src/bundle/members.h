/* SPDX-License-Identifier: Apache-2.0
 * The files of a stranger's archive by name: each is staged under the digest of its content, so
 * that a name is only ever a key in this table. Refuses names that point outside, links but for
 * those to members, devices, and whatever is too much. Inside bundle only. */
#ifndef BUNDLE_MEMBERS_H
#define BUNDLE_MEMBERS_H

#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#include "oci/digest.h"

#define MEMBERS_MAX 200000u                       /* files, folders and links */
#define MEMBER_PATH_MAX 1024                      /* bytes of one name */
#define MEMBER_LINKS_MAX 8                        /* one to the next */
#define UNPACKED_MAX_TIMES 200u                   /* of what was read, */
#define UNPACKED_FREE_BYTES ((uint64_t)256 << 20) /* from here on */

struct error;
struct intake;

struct member {
    struct digest digest; /* algorithm 0: a link */
    uint64_t size_bytes;
    char *target; /* of a link */
    char *name;
    UT_hash_handle hh;
};

struct members {
    struct member *table;
    size_t count; /* folders too */
};

/* All of a tar, or of a layout's folder, into the stage. 0 or -1; members_fini after either. */
int members_read(struct members *m, struct intake *in, const char *path, struct error *e);
int members_read_folder(struct members *m, struct intake *in, int folder, struct error *e);
void members_fini(struct members *m);
/* Through links; NULL if there is none. */
const struct member *members_find(const struct members *m, const char *name);

#endif
