/* SPDX-License-Identifier: Apache-2.0
 * One request from its first header to its log line: what was asked, what is waited for, what was
 * answered. Belongs to the connection's thread; a wake-up from another thread only resumes the
 * connection. Inside of serve/. */
#ifndef SERVE_REQUEST_H
#define SERVE_REQUEST_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "cache/flow.h"
#include "mirror/mirror.h"
#include "serve/route.h"

struct error;
struct index_reader;
struct tallies;
struct tally;
struct upstreams;

/* What the mirror says of itself. */
struct about {
    const char *mode, *data;
    int64_t started_at;     /* wall seconds */
    int64_t started_ms;     /* monotonic */
    char *const *addresses; /* NULL-ended */
};

/* What a handler thread has at hand. */
struct desk {
    struct mirror *mirror;
    struct upstreams *upstreams;
    struct index_reader *reader;
    const struct about *about;
    const bool *is_stopping; /* atomic */
    bool is_https;
    bool is_local;       /* behind the local door, where commands may change things */
    struct tally *tally; /* this worker's */
    const struct tallies *tallies;
    int wake; /* an eventfd: the worker looks at its connections */
};

/* Goes on with a suspended connection, in its worker's next round. Any thread; the caller has
 * nothing to do with the connection from here on. */
void desk_resume(const struct desk *d, struct MHD_Connection *c);

struct request {
    struct MHD_Connection *connection;
    const struct desk *desk;
    char id[17];
    char method[16];
    char *target; /* as sent, query included after '?' only in the log's path */
    int64_t began_us, answered_us;
    struct route route;
    struct upstream *upstream;
    char repository[REPOSITORY_MAX + 1]; /* as the upstream names it */
    char ns[256];                        /* as sent; "" */
    char prefix[256];                    /* "ghcr.io/" if the path named the registry; "" */
    bool is_head, has_waited, is_let_in, has_begun, joined, asked_again;
    bool takes_body, is_too_large;
    struct str body; /* of a command */
    struct answer *answer;
    struct waiter waiter;
    struct flow_reader reader; /* of the answer's flow, until its body follows it by itself */
    bool is_reader;
    /* for the log */
    unsigned status;
    uint64_t body_bytes;
    enum cache_outcome cache;
    char error[200];
};

/* A request whose line and headers are in. id: unlike every other's. */
struct request *request_new(struct MHD_Connection *c, const struct desk *d, uint64_t id,
                            const char *method, const char *target);
/* Looks at what can be refused before a body is read: what would let the next request be misread,
 * other methods than GET and HEAD (and POST of a command, at the local door). Both end the
 * connection. */
enum MHD_Result request_admit(struct request *r);
/* Some of its body: kept of a command, of anything else it means nothing. */
void request_take_body(struct request *r, const char *bytes, size_t length);
/* Answers it, or goes on answering it after a suspension. */
enum MHD_Result request_answer(struct request *r, const char *target);
/* Writes its log line and frees it. is_whole: all of its answer went out. */
void request_end(struct request *r, bool is_whole);

/* Suspends the connection until the answer is done (the flow knows its size): MHD_YES, and the
 * handler is called again. Returns false without suspending if that is already so. */
bool request_await_answer(struct request *r);
bool request_await_flow(struct request *r);
/* The same until the answer's flow has ended. */
bool request_await_end(struct request *r);
/* false: what the answer's flow had has passed, and another is needed. */
bool request_join_flow(struct request *r);
void request_leave_flow(struct request *r);

/* The decoded value of a query argument, or NULL; of a header, or NULL. Borrowed from the
 * connection. */
const char *request_argument(const struct request *r, const char *key);
const char *request_header(const struct request *r, const char *name);
bool request_argument_decoded(const struct request *r, const char *key, char *out,
                              size_t out_bytes);

/* The handlers. Each queues an answer or suspends. */
enum MHD_Result v2_handle(struct request *r);       /* v2.c */
enum MHD_Result lists_handle(struct request *r);    /* lists.c */
enum MHD_Result admin_handle(struct request *r);    /* admin.c */
enum MHD_Result status_handle(struct request *r);   /* status.c */
enum MHD_Result explain_handle(struct request *r);  /* explain.c */
enum MHD_Result control_handle(struct request *r);  /* control.c */
enum MHD_Result metrics_handle(struct request *r);  /* metrics_page.c */
enum MHD_Result collect_fetch(struct request *r);   /* collect.c */
enum MHD_Result collect_settle(struct request *r);  /* collect.c */
enum MHD_Result v2_answer_error(struct request *r); /* v2.c: r->answer's error */
/* 0, or -1 with ERR_DENIED: may r->repository be pulled from r->upstream? v2.c */
int v2_check_allowed(const struct request *r, struct error *e);

#endif
