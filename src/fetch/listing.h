/* SPDX-License-Identifier: Apache-2.0
 * All pages of a JSON listing of an upstream. Fetch thread only. */
#ifndef FETCH_LISTING_H
#define FETCH_LISTING_H

struct error;
struct fetcher;
struct upstream;

/* GETs path, collects the items of the array `key` (at most 500 pages and 16 MiB, past which it
 * fails with ERR_UPSTREAM) as comma-joined compact JSON, follows Link (relative, absolute or with a
 * cursor) on the upstream's own origin only. Strings are copied. done is called once, never from
 * within this call; why is NULL on success. */
void listing_pull(struct fetcher *f, struct upstream *u, const char *repository, const char *path,
                  const char *key,
                  void (*done)(void *cls, const char *items, const struct error *why), void *cls);

#endif
