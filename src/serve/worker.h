/* SPDX-License-Identifier: Apache-2.0
 * One thread that answers requests: it accepts its share of the connections, runs a libmicrohttpd
 * daemon over them, and once a second looks after who is late or idle. Inside of serve/. */
#ifndef SERVE_WORKER_H
#define SERVE_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/thread.h"

struct door;
struct error;
struct worker;
struct server_options;
struct desk;

/* What all workers of a server share. */
struct hall {
    const struct server_options *options;
    bool is_stopping;      /* atomic: no more requests */
    bool is_local;         /* the local door: who can open it may ask anything; it has no other */
    unsigned connections;  /* atomic: of all workers */
    bool is_crowded;       /* atomic: somebody found no room, or no descriptor */
    unsigned door_version; /* atomic: changes with the door */
    struct mutex mutex;    /* guards the next */
    struct door *door;     /* the one in force; written by the thread that started the server */
};

/* Puts this door, which it takes, in the place of the one in force. That thread. */
void hall_put_door(struct hall *h, struct door *new);

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
