/* SPDX-License-Identifier: Apache-2.0
 * From a request's path to what is meant. Matches the end of the path, because a repository's name
 * may itself contain components called manifests or blobs. Percent-decodes once. Pure, any thread,
 * fuzzed. */
#ifndef SERVE_ROUTE_H
#define SERVE_ROUTE_H

#include "base/str.h"
#include "oci/reference.h"

struct error;

enum route_kind {
    ROUTE_UNKNOWN, /* 404 */
    ROUTE_BASE,    /* /v2/ */
    ROUTE_MANIFEST,
    ROUTE_BLOB,
    ROUTE_TAGS,
    ROUTE_REFERRERS,
    ROUTE_CATALOG,
    ROUTE_UPLOAD, /* only writes go there */
    ROUTE_V1_PING,
    ROUTE_V1_SEARCH,
    ROUTE_HEALTHZ,
    ROUTE_READYZ,
    ROUTE_METRICS,
    ROUTE_STATUS,  /* /api/status */
    ROUTE_EXPLAIN, /* /api/explain */
    ROUTE_CONTROL, /* /control/<verb>: commands, at the local door only */
    ROUTE_KINDS    /* how many */
};

struct route {
    enum route_kind kind;
    char before[256]; /* what stands before /v2: "ghcr.io" in /ghcr.io/v2/…; "" usually */
    char name[REPOSITORY_MAX + 1]; /* valid by grammar */
    char tag[TAG_MAX + 1];         /* "" if by digest */
    struct digest digest; /* algorithm 0: a tag, or one that nobody here can verify (has_digest) */
    bool has_digest;
    char verb[32]; /* of ROUTE_CONTROL */
};

/* 0, or -1 with ERR_NAME_INVALID, ERR_TAG_INVALID or ERR_DIGEST_INVALID. */
int route_parse(struct slice target, struct route *out, struct error *e);
const char *route_kind_name(enum route_kind kind); /* "manifest", for log and metrics */

#endif
