/* SPDX-License-Identifier: Apache-2.0
 * libmicrohttpd gives every session the credentials of its daemon, which are fixed at the start;
 * GnuTLS lets them be replaced until the handshake, which is done as a connection is announced. */
#include "serve/tls.h"

#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "oci/digest.h"

enum { PEM_MAX = 4 << 20, CHAIN_MAX = 16 };

enum { CHAIN, KEY, CLIENT_CA, FILES };

struct tls {
    gnutls_certificate_credentials_t credentials;
    bool wants_certificate;
    struct digest held[FILES]; /* of what each file held; algorithm 0: there is none */
};

struct pem {
    char *text;
    size_t length;
};

static int read_pem(const char *file, struct pem *out, struct error *e)
{
    int found = file_read(AT_FDCWD, file, PEM_MAX, &out->text, &out->length, e);
    if (found == 0)
        return error_set(e, ERR_USAGE, "%s: there is no such file", file);
    return found < 0 ? -1 : 0;
}

static gnutls_datum_t datum_of(const struct pem *p)
{
    return (gnutls_datum_t){.data = (unsigned char *)p->text, .size = (unsigned)p->length};
}

/* 0, or GnuTLS' code. Looked at on its own first, for GnuTLS 3.7 keeps memory of a chain that it
 * cannot read together with its key. */
static int prove_chain(const gnutls_datum_t *pem)
{
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned count = CHAIN_MAX;
    int read = gnutls_x509_crt_list_import(chain, &count, pem, GNUTLS_X509_FMT_PEM,
                                           GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
    for (int i = 0; i < read; i++)
        gnutls_x509_crt_deinit(chain[i]);
    return read < 0 ? read : 0;
}

static int take_in(struct tls *t, const struct pem *pems, const char *const *files, struct error *e)
{
    const gnutls_datum_t chain = datum_of(&pems[CHAIN]), key = datum_of(&pems[KEY]);
    int code = prove_chain(&chain);
    if (code == 0)
        code =
            gnutls_certificate_set_x509_key_mem(t->credentials, &chain, &key, GNUTLS_X509_FMT_PEM);
    if (code < 0)
        return error_set(e, ERR_USAGE, "certificate %s with key %s: %s", files[CHAIN], files[KEY],
                         gnutls_strerror(code));
    if (!files[CLIENT_CA])
        return 0;
    const gnutls_datum_t ca = datum_of(&pems[CLIENT_CA]);
    if (gnutls_certificate_set_x509_trust_mem(t->credentials, &ca, GNUTLS_X509_FMT_PEM) <= 0)
        return error_set(e, ERR_USAGE, "%s: holds no certificate in PEM", files[CLIENT_CA]);
    t->wants_certificate = true;
    return 0;
}

static int load(struct tls *t, const char *const *files, struct pem *pems, struct error *e)
{
    if (gnutls_certificate_allocate_credentials(&t->credentials) < 0)
        return error_set(e, ERR_INTERNAL, "GnuTLS did not start");
    for (int i = 0; i < FILES; i++) {
        if (!files[i])
            continue;
        if (read_pem(files[i], &pems[i], e) < 0)
            return -1;
        digest_of(DIGEST_SHA256, pems[i].text, pems[i].length, &t->held[i]);
    }
    return take_in(t, pems, files, e);
}

struct tls *tls_load(const char *certificate, const char *key, const char *client_ca,
                     struct error *e)
{
    const char *const files[FILES] = {certificate, key, client_ca};
    struct pem pems[FILES] = {0};
    struct tls *t = alloc_zero(sizeof *t);
    int failed = load(t, files, pems, e);
    for (int i = 0; i < FILES; i++) {
        if (pems[i].text)
            explicit_bzero(pems[i].text, pems[i].length);
        free(pems[i].text);
    }
    if (!failed)
        return t;
    tls_free(t);
    return NULL;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    if (t->credentials)
        gnutls_certificate_free_credentials(t->credentials);
    free(t);
}

bool tls_is_same(const struct tls *a, const struct tls *b)
{
    for (int i = 0; i < FILES; i++)
        if (!digest_equals(&a->held[i], &b->held[i]))
            return false;
    return true;
}

static int refuse(gnutls_session_t session, const gnutls_datum_t *authorities, int authority_count,
                  const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
                  gnutls_pcert_st **chain, unsigned *chain_length, gnutls_privkey_t *key)
{
    (void)session, (void)authorities, (void)authority_count, (void)algorithms;
    (void)algorithm_count, (void)chain, (void)chain_length, (void)key;
    return -1;
}

void tls_get_option(struct MHD_OptionItem *out)
{
    *out = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)refuse};
}

static gnutls_session_t session_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return info ? info->tls_session : NULL;
}

void tls_begin(const struct tls *t, struct MHD_Connection *c)
{
    gnutls_session_t session = session_of(c);
    if (!session)
        return;
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, t->credentials);
    gnutls_certificate_server_set_request(session, t->wants_certificate ? GNUTLS_CERT_REQUEST
                                                                        : GNUTLS_CERT_IGNORE);
}

/* The chain that the client showed stays with its session; whose word counts is t's. */
bool tls_has_client_certificate(const struct tls *t, const struct tls *begun,
                                struct MHD_Connection *c)
{
    gnutls_session_t session = session_of(c);
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
    unsigned status;
    if (!session || !begun->wants_certificate || !t->wants_certificate)
        return false;
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, t->credentials);
    bool is_good =
        gnutls_certificate_verify_peers(session, &purpose, 1, &status) == 0 && status == 0;
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, begun->credentials);
    return is_good;
}
