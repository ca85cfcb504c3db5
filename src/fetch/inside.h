/* SPDX-License-Identifier: Apache-2.0
 * What those share that know the fetcher from within. Inside of fetch/; fetch thread only but for
 * the mailbox. */
#ifndef FETCH_INSIDE_H
#define FETCH_INSIDE_H

#include <curl/curl.h>
#include <pthread.h>
#include <uthash.h>

#include "fetch/fetcher.h"
#include "fetch/transfer.h"

struct fill;
struct token_wait;

TAILQ_HEAD(timers, timer);
TAILQ_HEAD(transfers, transfer);
LIST_HEAD(fills, fill);

/* An origin that is being talked to, or that transfers wait for. We count, not libcurl: what it
 * makes wait for its own limit of connections loses its time-outs meanwhile. */
struct host {
    UT_hash_handle hh;
    char *name; /* scheme://host:port */
    unsigned running;
    struct transfers waiting;
};

struct fetcher {
    struct fetcher_options options;
    char *user_agent;
    struct mailbox *mailbox;
    CURLM *multi;
    CURLSH *share; /* TLS sessions: the multi handle does not carry them over */
    pthread_t thread;
    bool is_stopping; /* atomic */
    struct timers timers;
    struct transfers running;
    unsigned running_count;
    struct host *hosts; /* only those with a transfer */
    struct fills fills;
    struct tokens *tokens;
    struct token_wait *token_waits; /* exchange.c: questions to token services under way */
};

/* Begins what waits as far as max_transfers and max_per_host allow. */
void transfer_begin_waiting(struct fetcher *f);
/* libcurl is done with that one. */
void transfer_ended(CURL *easy, CURLcode code);
/* Ends all with ERR_STOPPING. */
void transfer_end_all(struct fetcher *f);

#endif
