/* SPDX-License-Identifier: Apache-2.0
 * Which member stands in which volume: a function of a bundle's contents, the bytes of its head and
 * the volume's size. Pure. */
#ifndef BUNDLE_VOLUMES_H
#define BUNDLE_VOLUMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/digest.h"

#define VOLUMES_MAX 9999u
#define MEMBER_NAME_MAX 200

struct contents;
struct error;

#define MEMBER_CONTENTS "tranship/bundle.json"
#define MEMBER_SIGNATURE "tranship/bundle.sig"
#define MEMBER_VOLUME "tranship/volume"

/* A blob, or a part of one. */
struct piece {
    size_t blob; /* its number */
    uint64_t offset, length_bytes;
    bool is_whole;
};

struct volumes {
    struct piece *pieces;
    size_t piece_count;
    size_t *ends; /* of each volume: one past its last piece */
    size_t count; /* at least 1 */
};

/* contents_bytes: the length of bundle.json. 0, or -1 (ERR_USAGE) if a volume is too small for the
 * head and a mebibyte, or there would be too many. volumes_fini after 0 only. */
int volumes_plan(const struct contents *c, size_t contents_bytes, struct volumes *out,
                 struct error *e);
void volumes_fini(struct volumes *v);
#define autovolumes __attribute__((cleanup(volumes_fini)))
size_t volumes_first(const struct volumes *v, size_t volume); /* piece; volume from 0 */

const char *piece_name(const struct contents *c, const struct piece *p, char out[MEMBER_NAME_MAX]);
const char *volume_text(size_t volume, size_t count, char out[32]); /* "1 of 3\n" */

#endif
