/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a bundle's signature and what it signs, and as a key. */
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "fuzz.h"
#include "oci/signature.h"

static const char public_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VwAyEAsnfXUvh8y9pQVOMXbo1vKN17+/B8gCK+xwlycrBxDIg=\n"
                                 "-----END PUBLIC KEY-----\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    uint8_t signature[SIGNATURE_BYTES] = {0};
    size_t n = size < sizeof signature ? size : sizeof signature;
    struct slice all = {size ? (const char *)data : "", size};
    if (n)
        memcpy(signature, data, n);
    must(signature_check(slice_of(public_pem), all.at + n, size - n, signature, &e) == 0);
    if (signature_check(all, "text", 4, signature, &e) < 0)
        must(e.kind == ERR_USAGE && e.text[0]);
    if (signature_make(all, "text", 4, signature, &e) < 0)
        must(e.kind == ERR_USAGE && e.text[0]);
    return 0;
}
