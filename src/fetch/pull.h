/* SPDX-License-Identifier: Apache-2.0
 * Steps: what to ask a registry's sources for one blob, one manifest or one listing, what to make
 * of the answer, when to try again. Verifies everything; knows no client. Fetch thread only; each
 * done is called exactly once, never from within the call that began it, with why NULL on success.
 * Strings are copied. */
#ifndef FETCH_PULL_H
#define FETCH_PULL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/digest.h"
#include "oci/manifest.h"

struct error;
struct fetcher;
struct flow;
struct upstream;

/* Fills the flow (a reference is held meanwhile): takes up what is there, resumes after a broken
 * transfer, ends it VERIFIED or FAILED. done comes after the flow ended; why repeats its error. */
void pull_blob(struct fetcher *f, struct upstream *u, const char *repository, struct flow *flow,
               void (*done)(void *cls, const struct error *why), void *cls);

/* Ends the filling of that flow, which nobody follows, FAILED for that reason; what came is kept.
 */
void pull_abandon(struct fetcher *f, const struct flow *flow, const struct error *why);

/* What a manifest (or, for is_head, what is said about it) turned out to be. Borrowed during done.
 */
struct pulled {
    struct digest digest; /* algorithm 0: a HEAD that did not tell */
    uint64_t size_bytes;
    bool has_size; /* false: a HEAD that did not tell */
    char media_type[MEDIA_TYPE_MAX + 1];
    const char *bytes;               /* NULL for is_head */
    const struct manifest *manifest; /* NULL for is_head */
    /* The origin said so, or the bytes prove it, or the registry's tags may be asked anywhere.
     * false: a mirror says so. */
    bool is_confirmed;
};
struct manifest_request {
    struct upstream *upstream;
    const char *repository;
    const char *reference; /* a tag, or a digest as text, which the bytes must match */
    bool is_head, is_blob; /* is_blob asks blobs/ instead of manifests/ (is_head only) */
    bool needs_origin;     /* no mirror can vouch for the answer */
    bool can_do_without;   /* the caller has something to serve: see race.h */
};
void pull_manifest(struct fetcher *f, const struct manifest_request *q,
                   void (*done)(void *cls, const struct pulled *p, const struct error *why),
                   void *cls);

#endif
