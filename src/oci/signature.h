/* SPDX-License-Identifier: Apache-2.0
 * Ed25519 (RFC 8032): key pairs as PEM texts, signatures as 64 bytes. What OpenSSL's own tools
 * write and check. Pure but for the random number generator; any thread. */
#ifndef OCI_SIGNATURE_H
#define OCI_SIGNATURE_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define SIGNATURE_BYTES 64
#define KEY_PEM_MAX 8192 /* a file longer than that is no key of this kind */

struct error;

/* A new pair; both texts are the caller's. 0 or -1. */
int signature_generate(char **private_pem, char **public_pem, struct error *e);
/* ERR_USAGE if the text is no unencrypted private key of this kind. */
int signature_make(struct slice private_pem, const void *bytes, size_t length,
                   uint8_t out[SIGNATURE_BYTES], struct error *e);
/* 1 good, 0 not by that key, -1 the text is no public key of this kind (ERR_USAGE). */
int signature_check(struct slice public_pem, const void *bytes, size_t length,
                    const uint8_t signature[SIGNATURE_BYTES], struct error *e);

#endif
