/* SPDX-License-Identifier: Apache-2.0
 * OpenSSL does the hashing; the two algorithms are fetched once, because fetching costs more than
 * hashing a manifest. */
#include "oci/digest.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct hasher {
    EVP_MD_CTX *context;
    enum digest_algorithm algorithm;
};

static const struct {
    const char *name;
    size_t bytes;
} algorithms[] = {{"", 0}, {"sha256", 32}, {"sha512", 64}};

enum { ALGORITHM_COUNT = sizeof algorithms / sizeof *algorithms };

static EVP_MD *fetched[ALGORITHM_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fetch_all(void)
{
    for (size_t i = 1; i < ALGORITHM_COUNT; i++) {
        fetched[i] = EVP_MD_fetch(NULL, algorithms[i].name, NULL);
        if (!fetched[i])
            abort(); /* an OpenSSL without SHA-2 can serve nothing */
    }
}

static const EVP_MD *method(enum digest_algorithm algorithm)
{
    pthread_once(&once, fetch_all);
    return fetched[algorithm];
}

static bool is_algorithm_text(struct slice s)
{
    bool after_separator = true;
    for (size_t i = 0; i < s.length; i++) {
        char c = s.at[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!is_word && (after_separator || !strchr("+._-", c) || c == 0))
            return false;
        after_separator = !is_word;
    }
    return s.length > 0 && !after_separator;
}

static bool is_encoded_text(struct slice s)
{
    for (size_t i = 0; i < s.length; i++) {
        char c = s.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '=' || c == '_' || c == '-'))
            return false;
    }
    return s.length > 0;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t find_algorithm(struct slice name)
{
    for (size_t i = 1; i < ALGORITHM_COUNT; i++)
        if (slice_equals(name, algorithms[i].name))
            return i;
    return 0;
}

bool digest_from_parts(struct slice algorithm, struct slice hex, struct digest *out)
{
    size_t i = find_algorithm(algorithm);
    struct digest d = {.algorithm = (uint8_t)i};
    if (i == 0 || hex.length != 2 * algorithms[i].bytes)
        return false;
    for (size_t n = 0; n < algorithms[i].bytes; n++) {
        int high = hex_value(hex.at[2 * n]), low = hex_value(hex.at[2 * n + 1]);
        if (high < 0 || low < 0)
            return false;
        d.bytes[n] = (uint8_t)(high << 4 | low);
    }
    *out = d;
    return true;
}

int digest_parse(struct slice text, struct digest *out)
{
    struct slice algorithm, encoded;
    if (!slice_cut(text, ':', &algorithm, &encoded) || !is_algorithm_text(algorithm) ||
        !is_encoded_text(encoded))
        return -1;
    if (find_algorithm(algorithm) == 0)
        return 0;
    return digest_from_parts(algorithm, encoded, out) ? 1 : -1;
}

char *digest_hex(const struct digest *d, char out[DIGEST_HEX_MAX])
{
    static const char digits[] = "0123456789abcdef";
    size_t n = digest_bytes(d);
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[d->bytes[i] >> 4];
        out[2 * i + 1] = digits[d->bytes[i] & 15];
    }
    out[2 * n] = 0;
    return out;
}

char *digest_print(const struct digest *d, char out[DIGEST_TEXT_MAX])
{
    size_t n = strlen(digest_algorithm_name(d));
    memcpy(out, digest_algorithm_name(d), n);
    out[n] = ':';
    digest_hex(d, out + n + 1);
    return out;
}

const char *digest_algorithm_name(const struct digest *d)
{
    return algorithms[d->algorithm].name;
}

size_t digest_bytes(const struct digest *d)
{
    return algorithms[d->algorithm].bytes;
}

bool digest_equals(const struct digest *a, const struct digest *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

void digest_of(enum digest_algorithm algorithm, const void *bytes, size_t length,
               struct digest *out)
{
    memset(out, 0, sizeof *out);
    out->algorithm = (uint8_t)algorithm;
    if (EVP_Digest(bytes, length, out->bytes, NULL, method(algorithm), NULL) != 1)
        abort();
}

struct hasher *hasher_new(enum digest_algorithm algorithm)
{
    struct hasher *h = alloc_zero(sizeof *h);
    h->context = EVP_MD_CTX_new();
    h->algorithm = algorithm;
    if (!h->context)
        abort();
    hasher_reset(h);
    return h;
}

void hasher_reset(struct hasher *h)
{
    if (EVP_DigestInit_ex2(h->context, method(h->algorithm), NULL) != 1)
        abort();
}

void hasher_update(struct hasher *h, const void *bytes, size_t length)
{
    if (EVP_DigestUpdate(h->context, bytes, length) != 1)
        abort();
}

void hasher_final(struct hasher *h, struct digest *out)
{
    memset(out, 0, sizeof *out);
    out->algorithm = (uint8_t)h->algorithm;
    if (EVP_DigestFinal_ex(h->context, out->bytes, NULL) != 1)
        abort();
}

void hasher_free(struct hasher *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->context);
    free(h);
}
