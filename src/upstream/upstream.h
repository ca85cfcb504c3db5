/* SPDX-License-Identifier: Apache-2.0
 * A registry and how to reach it: its canonical name, the base URL of its origin, the credential
 * configured for it. No I/O. The table is built at start and then read only; what is learnt of an
 * upstream (its challenge) belongs to the fetch thread. A closed world: a name that is not in the
 * table is never dialled. */
#ifndef UPSTREAM_UPSTREAM_H
#define UPSTREAM_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "oci/challenge.h"

struct error;

struct upstream {
    char registry[256]; /* canonical name: "docker.io" */
    char url[512];      /* scheme://host[:port][/prefix], no trailing slash */
    bool is_private; /* its own host is in a private or loopback range by configuration: redirects
                        there are fine */
    char *username;  /* NULL: anonymous */
    char *password;
    struct challenge challenge; /* fetch thread: the last one seen, scheme NONE until then */
};

struct upstreams;
struct upstreams *upstreams_new(void);
void upstreams_free(struct upstreams *u);
/* Adds one; the URL must be http(s) with a host, without user, query or fragment (ERR_USAGE names
 * what is wrong). username and password may be NULL. */
int upstreams_add(struct upstreams *u, const char *registry, const char *url, const char *username,
                  const char *password, struct error *e);
/* By any alias that a client may use. NULL: not ours. */
struct upstream *upstreams_find(const struct upstreams *u, struct slice registry);
struct upstream *upstreams_default(const struct upstreams *u); /* the first added */

/* May a credential of this upstream go to that realm? Same host (exactly, for IPs and localhost),
 * or the same registrable domain by a built-in table (docker.io, ghcr.io, quay.io, gitlab.com,
 * gcr.io, pkg.dev); https unless the upstream is http itself. */
bool upstream_trusts_realm(const struct upstream *u, const char *realm_url);
/* Splits a URL: scheme, host and port lower-cased (default port filled in), false if it is not http
 * or https with a host, or if it names a user. */
struct url_origin {
    char scheme[8];
    char host[256];
    unsigned port;
};
bool upstream_url_origin(const char *url, struct url_origin *out);
bool upstream_same_origin(const struct url_origin *a, const struct url_origin *b);
/* Loopback, link-local, private or unspecified: a numeric address "10.0.0.1" or "::1". false for
 * public and for names. */
bool upstream_is_private_address(const char *address);

#endif
