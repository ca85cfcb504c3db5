/* SPDX-License-Identifier: Apache-2.0
 * HTTP in front: addresses, workers, limits, and the written order of stopping. The only folder
 * that includes microhttpd.h is serve. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct index;
struct mirror;
struct server;
struct upstreams;

/* PEM files, but for users. With a certificate and its key HTTPS on all addresses, without HTTP. */
struct server_doors {
    const char *tls_certificate, *tls_key; /* NULL: HTTP */
    const char *client_ca;                 /* clients need a certificate; with HTTPS only */
    const char *users;                     /* a file of htpasswd; NULL: none is asked for */
    char *const *networks;                 /* NULL-ended; NULL: all */
};

struct server_options {
    char *const *listen; /* "127.0.0.1:5000", "[::1]:5000", ":5000"; NULL-ended; at most 16 */
    unsigned threads;
    unsigned max_connections;   /* over all threads; further ones are closed at once, and idle
                                   ones soon */
    size_t max_header_bytes;    /* of a request; more is answered 431 */
    int64_t request_timeout_ms; /* from the connection's start, or its last answer, to the next
                                   whole request */
    int64_t send_timeout_ms;    /* without progress while answering */
    unsigned max_request_rate;  /* requests a second on one connection; 0: any */
    struct server_doors doors;
    int data_folder;         /* where the local door is made */
    const char *mode, *data; /* for /api/status; borrowed while it runs */
};

/* Also opens the local door: everything that is served elsewhere, over plain HTTP, to whoever the
 * socket's mode lets in, and commands besides. Without it (a file system that has no sockets) there
 * is a warning, and a mirror.
 * Binds, listens, starts the threads: requests are answered from here on. Borrows all but the
 * options, which are copied (their strings are needed during the call only). NULL and ERR_USAGE or
 * ERR_IO naming the address. */
struct server *server_start(const struct server_options *o, struct mirror *m, struct upstreams *u,
                            struct index *x, struct error *e);
/* Reads all of these files again: the certificate is shown to connections that come from here on,
 * the rules hold for requests that come from here on, on open connections too, none of which is
 * closed. The thread that started it. -1 with ERR_USAGE naming what does not fit, or that HTTPS
 * cannot be switched on or off: what was in force stays so. */
int server_replace_doors(struct server *s, const struct server_doors *o, struct error *e);
/* Does it listen on an address that other machines may reach, with no rule of who may ask? */
bool server_is_open_to_others(const struct server *s);
/* The address really bound of the i-th listen option ("127.0.0.1:40123"); NULL past the last.
 * Borrowed. */
const char *server_address(const struct server *s, size_t i);
/* Accepts no more connections; /readyz says so from here on. */
void server_quiesce(struct server *s);
unsigned server_busy(const struct server *s); /* requests under way */
/* After everything that could be waited for has ended: stops the threads, frees. */
void server_stop(struct server *s);

#endif
