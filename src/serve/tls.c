/* SPDX-License-Identifier: Apache-2.0
 * libmicrohttpd says of bad PEM only that it did not start, so it is proved here first. */
#include "serve/tls.h"

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"

enum { PEM_MAX = 4 << 20 };

static char *read_pem(const char *file, struct error *e)
{
    char *bytes;
    size_t length;
    int found = file_read(AT_FDCWD, file, PEM_MAX, &bytes, &length, e);
    if (found == 0)
        error_set(e, ERR_USAGE, "%s: there is no such file", file);
    return found == 1 ? bytes : NULL;
}

static gnutls_datum_t datum_of(char *pem)
{
    return (gnutls_datum_t){.data = (unsigned char *)pem, .size = (unsigned)strlen(pem)};
}

static int prove(const struct tls *t, const char *certificate, const char *key,
                 const char *client_ca, struct error *e)
{
    gnutls_certificate_credentials_t all;
    gnutls_datum_t chain = datum_of(t->certificate), own = datum_of(t->key);
    if (gnutls_certificate_allocate_credentials(&all) < 0)
        return error_set(e, ERR_INTERNAL, "GnuTLS did not start");
    int code = gnutls_certificate_set_x509_key_mem(all, &chain, &own, GNUTLS_X509_FMT_PEM);
    int failed = code < 0 ? error_set(e, ERR_USAGE, "certificate %s with key %s: %s", certificate,
                                      key, gnutls_strerror(code))
                          : 0;
    if (!failed && t->client_ca) {
        gnutls_datum_t ca = datum_of(t->client_ca);
        if (gnutls_certificate_set_x509_trust_mem(all, &ca, GNUTLS_X509_FMT_PEM) <= 0)
            failed = error_set(e, ERR_USAGE, "%s: holds no certificate in PEM", client_ca);
    }
    gnutls_certificate_free_credentials(all);
    return failed;
}

struct tls *tls_load(const char *certificate, const char *key, const char *client_ca,
                     struct error *e)
{
    struct tls *t = alloc_zero(sizeof *t);
    if ((t->certificate = read_pem(certificate, e)) && (t->key = read_pem(key, e)) &&
        (!client_ca || (t->client_ca = read_pem(client_ca, e))) &&
        prove(t, certificate, key, client_ca, e) == 0)
        return t;
    tls_free(t);
    return NULL;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    if (t->key)
        explicit_bzero(t->key, strlen(t->key));
    free(t->certificate);
    free(t->key);
    free(t->client_ca);
    free(t);
}

bool tls_has_client_certificate(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
    unsigned status;
    return info && info->tls_session &&
           gnutls_certificate_verify_peers(info->tls_session, &purpose, 1, &status) == 0 &&
           status == 0;
}
