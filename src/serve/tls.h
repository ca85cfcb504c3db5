/* SPDX-License-Identifier: Apache-2.0
 * HTTPS, by the GnuTLS that libmicrohttpd speaks it with: a certificate with its key, and the
 * authority of clients' certificates. Each connection is given its own at its start, so that others
 * can take their place while it lives on with these. Inside of serve/. */
#ifndef SERVE_TLS_H
#define SERVE_TLS_H

#include <stdbool.h>

struct MHD_Connection;
struct MHD_OptionItem;
struct error;
struct tls; /* read only once loaded: any thread */

/* Reads the files and proves that they fit: ERR_USAGE names the file that does not. client_ca:
 * whose clients' certificates are good; NULL: none is asked for. NULL on failure; owned by the
 * caller. */
struct tls *tls_load(const char *certificate, const char *key, const char *client_ca,
                     struct error *e);
void tls_free(struct tls *t); /* NULL is fine */
/* By what the files held. */
bool tls_is_same(const struct tls *a, const struct tls *b);

/* What a daemon of libmicrohttpd takes for its own certificate: none. A connection has one only by
 * tls_begin. */
void tls_get_option(struct MHD_OptionItem *out);
/* A connection's handshake, which is still to come, is made with t, which outlives it. */
void tls_begin(const struct tls *t, struct MHD_Connection *c);
/* Did this client show a certificate that the authority of t signed, in its time and for clients?
 * begun: what its handshake was made with. The connection's thread, after its handshake. */
bool tls_has_client_certificate(const struct tls *t, const struct tls *begun,
                                struct MHD_Connection *c);

#endif
