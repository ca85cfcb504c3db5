/* SPDX-License-Identifier: Apache-2.0
 * One client's connection beside what libmicrohttpd knows of it: by when it must bring its next
 * whole request, how fast it asks, and the memory that it holds while it is idle. Belongs to its
 * worker's thread. Time is passed in: monotonic milliseconds. */
#ifndef SERVE_CONNECTION_H
#define SERVE_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

struct MHD_Connection;
struct door;

struct connection {
    /* its worker's */
    TAILQ_ENTRY(connection) next;
    TAILQ_ENTRY(connection) next_used;
    bool is_used;      /* idle, and its buffer full of zeros: in its worker's list of those */
    int fd;            /* libmicrohttpd's, which closes it */
    struct door *door; /* that it came through; NULL: the local one */
    bool has_certificate;
    unsigned certificate_version; /* of the door by whose word it has or lacks one; 0: of none */
    /* its request waits before the door, suspended until turn_at_ms */
    TAILQ_ENTRY(connection) next_waiting;
    struct MHD_Connection *waiting; /* NULL: it does not */
    int64_t turn_at_ms;
    /* private */
    int64_t due_ms;        /* the next whole request; INT64_MAX while one is under way */
    int64_t idle_since_ms; /* the start, or the last answer */
    bool is_shut;
    int64_t rate_second;
    unsigned rate_count;
    char *buffer; /* where libmicrohttpd's buffer begins, if known */
};

/* Of a client on this machine: keeps what is on its way to it within the processor's cache. */
void connection_fit(int fd, const struct sockaddr *peer);
/* The first whole request is due by due_ms. */
void connection_init(struct connection *c, int fd, int64_t now_ms, int64_t due_ms);

/* A request's line and headers are in. target: where libmicrohttpd put what follows the method in
 * its buffer. */
void connection_begin_request(struct connection *c, const char *method, const char *target);
/* Its answer is out, or was cut. The next whole request is due by due_ms. */
void connection_end_request(struct connection *c, int64_t now_ms, int64_t due_ms);
/* Counts a request. true: there were more than `most` in this second (0: any number). */
bool connection_is_over_rate(struct connection *c, unsigned most, int64_t now_ms);

/* Late with its request? */
bool connection_is_late(const struct connection *c, int64_t now_ms);
/* Has it waited for its next request for a second or more? */
bool connection_is_idle(const struct connection *c, int64_t now_ms);
/* Shuts it down, once; true if it was not yet. The descriptor stays libmicrohttpd's, which sees the
 * end and cleans up. */
bool connection_shut(struct connection *c);
/* For a connection that has waited for its next request for a second: shuts it if its client left
 * unnoticed. */
void connection_settle(struct connection *c, int64_t now_ms);
/* For one that waits for its next request: gives back the memory of its buffer of so many bytes
 * (pages of it that hold only zeros; they read as zeros again). Called within the thread that runs
 * its daemon, between two rounds. */
void connection_give_back(const struct connection *c, size_t buffer_bytes);

#endif
