/* SPDX-License-Identifier: Apache-2.0
 * Sockets to listen on. Several threads listen on one address, each with a socket of its own
 * (SO_REUSEPORT), so that the kernel spreads the connections. Any one thread. */
#ifndef SERVE_LISTEN_H
#define SERVE_LISTEN_H

#include <netdb.h>
#include <stdbool.h>
#include <sys/socket.h>

struct error;

/* An address to listen on, resolved. */
struct listen_address {
    struct sockaddr_storage at;
    socklen_t length_bytes;
    const char *text; /* as the user wrote it; borrowed */
};

/* "127.0.0.1:5000", "[::1]:5000", "name:5000", ":5000" (every address of this machine), port 0 for
 * one that the kernel picks. ERR_USAGE where it is none; ERR_IO if somebody else listens there. The
 * text outlives the result. */
int listen_resolve(const char *text, struct listen_address *out, struct error *e);
/* A socket that listens there, non-blocking; *a then has the port that the kernel picked. Owned by
 * the caller; -1 with ERR_IO naming the address. */
int listen_open(struct listen_address *a, struct error *e);
/* A socket of that name in that folder, which the owner of the folder alone may connect to; what a
 * dead server left there is replaced. Owned by the caller; -1 with ERR_IO. */
int listen_open_local(int folder, const char *name, struct error *e);
/* Can only this machine reach it? */
bool listen_is_loopback(const struct listen_address *a);
/* "127.0.0.1:40123", "[::1]:40123". Owned by the caller. */
char *listen_print(const struct listen_address *a);

#endif
