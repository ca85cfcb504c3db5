/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a digest, and as content to hash. */
#include <string.h>

#include "fuzz.h"
#include "oci/digest.h"

static void check_spelling(struct slice text)
{
    struct digest d, before, again;
    char printed[DIGEST_TEXT_MAX], hex[DIGEST_HEX_MAX];
    memset(&before, 0x5a, sizeof(before));
    d = before;
    if (digest_parse(text, &d) != 1) {
        must(memcmp(&d, &before, sizeof(d)) == 0);
        return;
    }
    must(slice_equals(text, digest_print(&d, printed)));
    must(strlen(digest_hex(&d, hex)) == 2 * digest_bytes(&d));
    must(digest_from_parts(slice_of(digest_algorithm_name(&d)), slice_of(hex), &again));
    must(digest_equals(&d, &again));
    for (size_t i = digest_bytes(&d); i < sizeof(d.bytes); i++)
        must(d.bytes[i] == 0);
}

static void check_pieces(enum digest_algorithm algorithm, const uint8_t *data, size_t size)
{
    struct digest whole, pieces;
    char printed[DIGEST_TEXT_MAX];
    size_t middle = size ? data[0] % size : 0;
    digest_of(algorithm, data, size, &whole);
    struct hasher *h = hasher_new(algorithm);
    hasher_update(h, data, middle);
    hasher_update(h, data + middle, size - middle);
    hasher_final(h, &pieces);
    hasher_free(h);
    must(digest_equals(&whole, &pieces));
    must(digest_parse(slice_of(digest_print(&whole, printed)), &pieces) == 1);
    must(digest_equals(&whole, &pieces));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_spelling((struct slice){(const char *)data, size});
    check_pieces(DIGEST_SHA256, data, size);
    check_pieces(DIGEST_SHA512, data, size);
    return 0;
}
