/* SPDX-License-Identifier: Apache-2.0
 * One question to an upstream registry, with all that stands between: token, 401, redirects to a
 * CDN, errors put into our words. Credentials go to the upstream's own origin and to a realm it may
 * be trusted with, nowhere else; a redirect to another scheme, host or port goes on without
 * Authorization. One token request however many wait. Fetch thread only. */
#ifndef FETCH_EXCHANGE_H
#define FETCH_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetch/transfer.h"

struct error;
struct exchange;
struct fetcher;
struct source;

struct exchange_request {
    struct source *source;
    const char *repository; /* as the upstream names it; the token's scope is
                               repository:<this>:pull. NULL: none */
    const char *path; /* "/v2/library/alpine/manifests/3.20?…": appended to the upstream's URL */
    bool is_head;
    const char *accept;
    bool has_range;
    uint64_t range_first, range_last;
    /* Headers came, of any status and from any step: it lives. NULL: nobody wants to know. */
    void (*on_sign)(void *cls, const struct head *head);
    /* The final answer's head, only if its status is 200 or 206 (or 304): redirects, 401 and errors
     * are dealt with here. */
    int (*on_head)(void *cls, const struct head *head, struct error *e);
    int (*on_body)(void *cls, const void *bytes, size_t length, struct error *e);
    /* The end, exactly once, never from within exchange_start. why NULL: 200 or 206 and the whole
     * body came. Otherwise, by what the upstream answered (upstream_status tells; text names
     * upstream, path and its message): 404 ERR_NOT_FOUND; 401 and 403 after correct authentication,
     * and an anonymous token refused, ERR_NAME_UNKNOWN; configured credentials rejected
     * ERR_CREDENTIALS; 416 ERR_RANGE_INVALID; 429 ERR_LIMITED with retry_after_s; other 4xx/5xx,
     * HTML, redirect loops or refused redirects, gzip'd bodies ERR_UPSTREAM; time-outs ERR_TIMEOUT;
     * ERR_STOPPING; what a callback said. */
    void (*on_done)(void *cls, const struct head *head, const struct error *why);
    void *cls;
};

struct exchange *exchange_start(struct fetcher *f, const struct exchange_request *r,
                                struct error *e);
/* false while it waits for its turn with us. */
bool exchange_is_under_way(const struct exchange *x);
void exchange_cancel(struct exchange *x); /* without on_done */

#endif
