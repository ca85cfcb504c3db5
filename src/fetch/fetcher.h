/* SPDX-License-Identifier: Apache-2.0
 * The fetch thread: one curl_multi, its mailbox, its timers. Everything else in fetch/ runs on this
 * thread and needs no lock. It waits for the network only; it never waits for a reader. */
#ifndef FETCH_FETCHER_H
#define FETCH_FETCHER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/mailbox.h"

struct error;
struct fetcher;
struct hashing;
struct tokens;

struct fetcher_options {
    int64_t connect_timeout_ms; /* TCP and TLS together */
    int64_t header_timeout_ms;  /* from the request sent to the answer's headers */
    int64_t stall_timeout_ms;   /* without a body byte */
    unsigned max_transfers;     /* exchanges at once, further ones wait their turn */
    unsigned max_per_host;      /* connections to one host */
    unsigned max_per_source;    /* transfers of one blob from one source at once; 0 as 1 */
    unsigned max_per_blob;      /* and from all of them, PLAN_PARTS_MAX at most; 0 as 1 */
    uint64_t piece_bytes;       /* less is not worth a transfer of its own */
    const char *user_agent;     /* "tranship/0.1.0" */
    struct hashing *hashing;    /* hashes large blobs; NULL: the fetch thread does */
};

/* Makes and starts the thread. libcurl's environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY, ALL_PROXY
 * in both cases, SSL_CERT_FILE, SSL_CERT_DIR) holds. */
struct fetcher *fetcher_start(const struct fetcher_options *o, struct error *e);
/* Ends every transfer with ERR_STOPPING (each owner's done is called), runs what that posts, joins,
 * frees. */
void fetcher_stop(struct fetcher *f);

/* A call to be made on the fetch thread. Embedded in the owner, who owns it again when run is
 * called. Any thread. */
struct call {
    struct letter letter; /* first */
    void (*run)(struct call *c);
};
/* false when too many wait (ERR_BUSY to the client) or the fetcher is stopping: run is not called
 */
bool fetcher_post(struct fetcher *f, struct call *c);

/* --- on the fetch thread only ----------------------------------------------------------------- */
/* Calls run once, delay_ms from now (0: after the present round). Setting again replaces. */
struct timer {
    void (*run)(struct timer *t);
    int64_t due_ms; /* private */
    bool is_set;    /* private */
    TAILQ_ENTRY(timer) next;
};
void fetcher_set_timer(struct fetcher *f, struct timer *t, int64_t delay_ms);
void fetcher_clear_timer(struct fetcher *f, struct timer *t);
/* Does some transfer wait for its turn, others taking all that the limits allow? */
bool fetcher_is_tight(const struct fetcher *f);
bool fetcher_is_stopping(const struct fetcher *f);
const struct fetcher_options *fetcher_get_options(const struct fetcher *f);
struct tokens *fetcher_tokens(struct fetcher *f);

#endif
