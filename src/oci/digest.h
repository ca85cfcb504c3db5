/* SPDX-License-Identifier: Apache-2.0
 * Digests: parse, print, compare, and hash as content streams. sha256 and sha512 (OCI image-spec,
 * descriptor.md). Pure but for the hasher; any thread, one thread per hasher. The only folder that
 * includes OpenSSL's digests is oci. */
#ifndef OCI_DIGEST_H
#define OCI_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum digest_algorithm { DIGEST_SHA256 = 1, DIGEST_SHA512 = 2 };

#define DIGEST_TEXT_MAX 136 /* "sha512:" + 128 + 0 */
#define DIGEST_HEX_MAX 129

/* Zeroed before filling, so that two equal digests are equal bytes: usable as a hash key whole. */
struct digest {
    uint8_t algorithm; /* enum digest_algorithm; 0: no digest */
    uint8_t bytes[64]; /* 32 used by sha256, the rest 0 */
};

/* 1 parsed; 0 well-formed but of an algorithm we cannot verify; -1 malformed (upper case hex
 * included). */
int digest_parse(struct slice text, struct digest *out);
/* "sha256:<hex>"; returns out. */
char *digest_print(const struct digest *d, char out[DIGEST_TEXT_MAX]);
char *digest_hex(const struct digest *d, char out[DIGEST_HEX_MAX]);
const char *digest_algorithm_name(const struct digest *d); /* "sha256" */
/* From the algorithm's name and the hex, as a file's path spells it. false if malformed or
 * unsupported. */
bool digest_from_parts(struct slice algorithm, struct slice hex, struct digest *out);
bool digest_equals(const struct digest *a, const struct digest *b);
size_t digest_bytes(const struct digest *d); /* 32 or 64 */

/* Of bytes in memory. */
void digest_of(enum digest_algorithm algorithm, const void *bytes, size_t length,
               struct digest *out);

struct hasher;
struct hasher *hasher_new(enum digest_algorithm algorithm);
void hasher_update(struct hasher *h, const void *bytes, size_t length);
void hasher_final(struct hasher *h,
                  struct digest *out); /* once; the hasher can only be freed or reset then */
void hasher_reset(struct hasher *h);
void hasher_free(struct hasher *h); /* NULL is fine */

#endif
