/* SPDX-License-Identifier: Apache-2.0
 * One HTTP request and its answer: headers, limits, time-outs. Follows no redirect, knows no token:
 * exchange.h does. Fetch thread only. */
#ifndef FETCH_TRANSFER_H
#define FETCH_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetch/head.h"
#include "upstream/upstream.h"

struct error;
struct fetcher;
struct transfer;

struct transfer_request {
    const char *url;
    bool is_head;
    const char *accept;        /* NULL: none */
    const char *authorization; /* the header's value; NULL: none */
    bool has_range;
    uint64_t range_first, range_last; /* range_last UINT64_MAX: open-ended */
    const char *post_body;            /* a form to POST; NULL: GET or HEAD */
    enum address_range reach; /* who lives further in is not connected to; checked on the address */
    const struct source *source; /* whose proxy and authorities hold; NULL: the environment's */
    bool shows_certificate;      /* that source's client certificate, if it has one */
    bool plain_http_allowed;     /* otherwise an http URL is refused */
    /* Headers complete. 0 goes on, -1 (e filled) stops. For an answer without a body it is called
     * too. */
    int (*on_head)(void *cls, const struct head *head, struct error *e);
    /* Body bytes; never called on HEAD. 0 goes on, -1 (e filled) stops; 1: not now, the same bytes
     * will be offered again soon, and nothing is asked of the upstream until then. NULL discards up
     * to 64 KiB and stops quietly after. */
    int (*on_body)(void *cls, const void *bytes, size_t length, struct error *e);
    /* The end, exactly once, never from within transfer_start. why is NULL when the whole answer
     * came: any status counts as such. Otherwise ERR_TIMEOUT, ERR_UPSTREAM (refused, cut, TLS …,
     * text names host and reason), ERR_STOPPING, or what a callback said. The transfer is freed
     * after it returns. */
    void (*on_done)(void *cls, const struct head *head, const struct error *why);
    void *cls;
};

/* Strings are copied. NULL (e filled) if the request cannot even begin; on_done is not called. */
struct transfer *transfer_start(struct fetcher *f, const struct transfer_request *r,
                                struct error *e);
/* Ends it without on_done. */
void transfer_cancel(struct transfer *t);
/* false: it still waits for its turn at its host. */
bool transfer_is_running(const struct transfer *t);
/* The bytes of body received so far over the wire. */
uint64_t transfer_received(const struct transfer *t);

#endif
