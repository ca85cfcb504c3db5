/* SPDX-License-Identifier: Apache-2.0
 * The one dialect of tar that a bundle is written in: regular files, mode 0644, owner 0, time 0; a
 * pax record where the name or the size does not fit. The bytes are fixed by name and size, for
 * ever: whoever checks a bundle composes them anew and compares. Pure. */
#ifndef BUNDLE_TAR_H
#define BUNDLE_TAR_H

#include <stddef.h>
#include <stdint.h>

struct str;

#define TAR_BLOCK 512
#define TAR_END_BYTES ((size_t)2 * TAR_BLOCK) /* of zeros, after the last member */

/* Appends what stands before the content. A name has at most 255 bytes. */
void tar_add_header(struct str *out, const char *name, uint64_t size_bytes);
/* Zeros after the content. */
size_t tar_padding(uint64_t size_bytes);
/* What a member takes in all. */
uint64_t tar_member_bytes(const char *name, uint64_t size_bytes);

#endif
