/* SPDX-License-Identifier: Apache-2.0
 * What fetcher.c, transfer.c and exchange.c share. Inside of fetch/; fetch thread only but for the mailbox. */
#ifndef FETCH_INSIDE_H
#define FETCH_INSIDE_H

#include <curl/curl.h>
#include <pthread.h>

#include "fetch/fetcher.h"
#include "fetch/transfer.h"

struct token_wait;

TAILQ_HEAD(timers, timer);
TAILQ_HEAD(transfers, transfer);

struct fetcher {
    struct fetcher_options options;
    char *user_agent;
    struct mailbox *mailbox;
    CURLM *multi;
    pthread_t thread;
    bool is_stopping; /* atomic */
    struct timers timers;
    struct transfers waiting, running;
    unsigned running_count;
    struct tokens *tokens;
    struct token_wait *token_waits; /* exchange.c: questions to token services under way */
};

/* Begins what waits as far as max_transfers allows. */
void transfer_begin_waiting(struct fetcher *f);
/* libcurl is done with that one. */
void transfer_ended(CURL *easy, CURLcode code);
/* Ends all with ERR_STOPPING. */
void transfer_end_all(struct fetcher *f);

#endif
