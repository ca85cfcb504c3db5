/* SPDX-License-Identifier: Apache-2.0
 * HTTPS, by the GnuTLS that libmicrohttpd speaks it with: the files, and a client's certificate.
 * Inside of serve/. */
#ifndef SERVE_TLS_H
#define SERVE_TLS_H

#include <stdbool.h>

struct MHD_Connection;
struct error;

/* PEM texts, read only once loaded. */
struct tls {
    char *certificate; /* the chain, the server's own first */
    char *key;
    char *client_ca; /* whose clients' certificates are good; NULL: none is asked for */
};

/* Reads the files and proves that they fit: ERR_USAGE names the file that does not. client_ca may
 * be NULL. NULL on failure; owned by the caller. */
struct tls *tls_load(const char *certificate, const char *key, const char *client_ca,
                     struct error *e);
void tls_free(struct tls *t); /* NULL is fine */
/* Did this client show a certificate that the authority signed, in its time and for clients? The
 * connection's thread, after its handshake. */
bool tls_has_client_certificate(struct MHD_Connection *c);

#endif
