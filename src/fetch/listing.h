/* SPDX-License-Identifier: Apache-2.0
 * All pages of a JSON listing of an upstream. Fetch thread only. */
#ifndef FETCH_LISTING_H
#define FETCH_LISTING_H

#include <stdbool.h>

struct error;
struct fetcher;
struct upstream;

struct listing_request {
    struct upstream *upstream;
    const char *repository, *path;
    const char *key;     /* of the array whose items are wanted */
    bool can_do_without; /* an older listing is at hand: only the origin is asked */
};

/* GETs path, collects the items of the array `key` (at most 500 pages and 16 MiB, past which it
 * fails with ERR_UPSTREAM) as comma-joined compact JSON, follows Link (relative, absolute or with a
 * cursor) on its source's own origin only. The origin is asked first, mirrors if it cannot be
 * reached (then is_confirmed is false); all pages come from one source. Strings are copied. done is
 * called once, never from within this call; why is NULL on success. */
void listing_pull(struct fetcher *f, const struct listing_request *q,
                  void (*done)(void *cls, const char *items, bool is_confirmed,
                               const struct error *why),
                  void *cls);

#endif
