/* SPDX-License-Identifier: Apache-2.0
 * OpenSSL does the signing. Its queue of errors is emptied here: callers get ours. */
#include "oci/signature.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"

static void free_key(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}
static void free_context(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}
static void free_bio(BIO **bio)
{
    BIO_free(*bio);
}
#define autokey __attribute__((cleanup(free_key)))
#define autocontext __attribute__((cleanup(free_context)))
#define autobio __attribute__((cleanup(free_bio)))

static int fail_with(struct error *e, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_get_error());
    ERR_clear_error();
    return error_set(e, ERR_INTERNAL, "%s: %s", what, reason ? reason : "OpenSSL refused");
}

static char *text_of(BIO *bio)
{
    char *at = NULL;
    long length = BIO_get_mem_data(bio, &at);
    return alloc_bytes(at, length > 0 ? (size_t)length : 0);
}

int signature_generate(char **private_pem, char **public_pem, struct error *e)
{
    autokey EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    autobio BIO *private = BIO_new(BIO_s_mem());
    autobio BIO *public = BIO_new(BIO_s_mem());
    if (!key || !private || !public)
        return fail_with(e, "make a key");
    if (PEM_write_bio_PrivateKey(private, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_PUBKEY(public, key) != 1)
        return fail_with(e, "write a key");
    *private_pem = text_of(private);
    *public_pem = text_of(public);
    return 0;
}

/* An encrypted key asks for its password on the terminal unless told otherwise. */
static int no_password(char *to, int room, int is_writing, void *cls)
{
    (void)to, (void)room, (void)is_writing, (void)cls;
    return -1;
}

static EVP_PKEY *read_key(struct slice pem, bool is_private)
{
    autobio BIO *bio = pem.length <= KEY_PEM_MAX ? BIO_new_mem_buf(pem.at, (int)pem.length) : NULL;
    if (!bio)
        return NULL;
    EVP_PKEY *key = is_private ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL)
                               : PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL);
    ERR_clear_error();
    if (key && !EVP_PKEY_is_a(key, "ED25519")) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

int signature_make(struct slice private_pem, const void *bytes, size_t length,
                   uint8_t out[SIGNATURE_BYTES], struct error *e)
{
    size_t written = SIGNATURE_BYTES;
    autokey EVP_PKEY *key = read_key(private_pem, true);
    if (!key)
        return error_set(e, ERR_USAGE, "not an unencrypted Ed25519 private key in PEM");
    autocontext EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || EVP_DigestSignInit(context, NULL, NULL, NULL, key) != 1 ||
        EVP_DigestSign(context, out, &written, bytes, length) != 1 || written != SIGNATURE_BYTES)
        return fail_with(e, "sign");
    return 0;
}

int signature_check(struct slice public_pem, const void *bytes, size_t length,
                    const uint8_t signature[SIGNATURE_BYTES], struct error *e)
{
    autokey EVP_PKEY *key = read_key(public_pem, false);
    if (!key)
        return error_set(e, ERR_USAGE, "not an Ed25519 public key in PEM");
    autocontext EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) != 1)
        return fail_with(e, "check a signature");
    int result = EVP_DigestVerify(context, signature, SIGNATURE_BYTES, bytes, length);
    ERR_clear_error();
    return result == 1;
}
