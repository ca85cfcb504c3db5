/* SPDX-License-Identifier: Apache-2.0
 * One thread that answers requests: it accepts its share of the connections, runs a libmicrohttpd
 * daemon over them, and once a second looks after who is late or idle. Inside of serve/. */
#ifndef SERVE_WORKER_H
#define SERVE_WORKER_H

#include <stdbool.h>
#include <stddef.h>

struct error;
struct worker;
struct server_options;
struct desk;

/* What all workers of a server share. */
struct hall {
    const struct server_options *options;
    const struct tls *tls;       /* NULL: plain HTTP */
    const struct access *access; /* atomic: the rules in force */
    bool is_stopping;            /* atomic: no more requests */
    bool is_local;               /* the local door: who can open it may ask anything */
    unsigned connections;        /* atomic: of all workers */
    bool is_crowded;             /* atomic: somebody found no room, or no descriptor */
};

/* Takes the listening sockets (closes them), borrows the hall; the desk is copied, its reader is
 * closed with the worker. Runs from here on. NULL (nothing taken) if there is no thread or no
 * daemon to be had. */
struct worker *worker_start(struct hall *h, const struct desk *d, const int *sockets, size_t count,
                            struct error *e);
/* Accepts no more connections: the sockets are closed when this returns. Any thread, once. */
void worker_quiesce(struct worker *w);
/* Requests under way. Any thread. */
unsigned worker_busy(const struct worker *w);
/* Ends the thread and its connections, frees. Nothing may be waited for any more: libmicrohttpd
 * aborts if it is stopped with a connection suspended. */
void worker_stop(struct worker *w);

#endif
