/* SPDX-License-Identifier: Apache-2.0
 * A registry and how to reach it: its canonical name, its mirrors and its origin, the credentials
 * configured for it, what of it may be served. No I/O. The table is built at start, then replaced
 * as a whole or left alone; what is learnt of a source belongs to the fetch thread. A closed world:
 * a name that is not in the table is never dialled. Beside the table stand the names that are only
 * held: an import brought something of them, there is no source to ask. */
#ifndef UPSTREAM_UPSTREAM_H
#define UPSTREAM_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "oci/challenge.h"
#include "upstream/health.h"

struct account;
struct error;

enum {
    SOURCES_MAX = 32, /* of one registry */
    HELD_MAX = 1000   /* registries that are only held */
};

/* How a source is reached, if not as every host is; NULL: nothing special. */
struct source_way {
    const char *proxy;   /* SCHEME://HOST:PORT, in the place of the environment's */
    const char *ca_file; /* authorities besides the system's */
    const char *client_certificate, *client_key; /* shown to the source itself, to no other host */
};

/* How far inside an address lies: on the internet; in a private network or on this machine; on the
 * link, where clouds answer with a machine's own secrets. */
enum address_range { ADDRESS_PUBLIC, ADDRESS_PRIVATE, ADDRESS_LINK_LOCAL };

/* One place that has a registry's content: a mirror of it, or its origin. */
struct source {
    char url[512];  /* scheme://host[:port][/prefix], no trailing slash */
    char *username; /* NULL: anonymous */
    char *password;
    char *identity;          /* of both, for keys: the user and a digest; NULL: anonymous */
    char **realms;           /* hosts that may have them too; NULL-ended; may be NULL */
    char *token;             /* sent as it is, in the place of a user; NULL: none */
    struct source_way way;   /* owned strings */
    struct account *account; /* what is counted of it */
    /* below: the fetch thread's */
    /* how far in its redirects and realms may lead: where it lives itself, or where it may */
    enum address_range reach;
    int64_t single_until_ms; /* it refused a second transfer of a blob: monotonic; 0: never */
    /* a whole body of it, a range of it was once proven right, since it was last wrong */
    bool has_whole_proof, has_part_proof;
    struct challenge challenge; /* the last one seen, scheme NONE until then */
    struct health health;
};

struct upstream {
    char registry[256];     /* canonical name: "docker.io" */
    unsigned number;        /* of that name, see account_registry */
    struct source *sources; /* in the order of preference: the mirrors, the origin last */
    size_t source_count;    /* at least 1; 0: it is only held, see upstream_is_only_held */
    bool resolves_anywhere; /* tags: mirrors are asked like for digests; otherwise the origin first
                             */
    bool is_accelerated;    /* its blobs may come by several transfers at once */
    bool is_prefetched;     /* and before they are asked for */
    int64_t tag_ttl_ms;     /* -1: the mirror's own */
    char **hosts;         /* virtual hosts, lower case; NULL-ended, as are all below; may be NULL */
    char **allow, **deny; /* globs on repository names; see upstream_allows */
    char **immutable_tags; /* globs on tags that never move once seen */
    bool allows_private;   /* its sources may lead to private addresses */
};

/* NULL: anonymous. */
struct source_credential {
    const char *username, *password;
};

/* What is configured of a registry. Lists are NULL-ended, or NULL for none; strings are copied. */
struct upstream_options {
    const char *registry;
    const char *origin;
    char *const *mirrors;
    const struct source_credential *mirror_credentials; /* one a mirror; or NULL: all anonymous */
    const char *username, *password;                    /* the origin's; NULL: anonymous */
    const char *token;     /* the origin's, in the place of both; NULL: none */
    struct source_way way; /* its client certificate is for the origin alone, the rest for all */
    bool resolves_anywhere, is_accelerated, is_prefetched;
    int64_t tag_ttl_ms; /* -1: the mirror's own */
    char *const *hosts, *const *allow, *const *deny, *const *immutable_tags;
    char *const *realms; /* hosts of token services that may have the origin's credential */
    bool allows_private; /* redirects and realms may lead to private addresses */
};

struct upstreams;
struct upstreams *upstreams_new(void);
void upstreams_free(struct upstreams *u); /* and every upstream that ever was in it */
/* Adds one, before the table is shared; URLs must be http(s) with a host, without user, query or
 * fragment; names and hosts are there once, sources at most SOURCES_MAX (ERR_USAGE names what is
 * wrong). */
int upstreams_add(struct upstreams *u, const struct upstream_options *o, struct error *e);
/* Puts another table in the place of this one, all at once for the lookups below, which any thread
 * may be making; takes over (and frees) new. An upstream that is configured as before stays the
 * same object, with what was learnt of it; all that went lives on until upstreams_free, for who is
 * using it. false: nothing was different. From one thread at a time. */
bool upstreams_replace(struct upstreams *u, struct upstreams *new);
/* From now on names of that registry are answered, from what is held, unless the table has it; for
 * good. Canonical names only, and of those the ones that no repository's first component is taken
 * for by mistake; false: it is none, or there are HELD_MAX. Any thread, one at a time. */
bool upstreams_hold(struct upstreams *u, const char *registry);
/* By any alias that a client may use, also if it is only held. NULL: not ours. */
struct upstream *upstreams_find(const struct upstreams *u, struct slice registry);
/* By a Host header, with or without its port. NULL: no registry has that virtual host. */
struct upstream *upstreams_find_host(const struct upstreams *u, struct slice host);
/* The one that names without a registry mean: the first added, unless another was chosen. */
struct upstream *upstreams_default(const struct upstreams *u);
/* false if there is no such registry; before the table is shared */
bool upstreams_choose_default(struct upstreams *u, const char *registry);
struct upstream *upstreams_at(const struct upstreams *u, size_t i); /* NULL past the last */

struct source *upstream_origin(const struct upstream *u); /* NULL if it is only held */
/* There is nobody to ask: it has no sources, no rules and no virtual hosts. */
bool upstream_is_only_held(const struct upstream *u);
/* Is what it gives perhaps not for everybody: does any of its sources know us by name? */
bool upstream_has_credentials(const struct upstream *u);
bool upstreams_have_credentials(const struct upstreams *u); /* any of those now in the table */
/* May that repository be served? A matching deny refuses; with an allow list one of its globs must
 * match. '*' spans slashes. *rule: the glob that decided ("" if none of the allow list matched). */
bool upstream_allows(const struct upstream *u, const char *repository, const char **rule);
bool upstream_is_immutable_tag(const struct upstream *u, const char *tag);

/* May a credential of this source go to that realm? A host that is configured for it, the same host
 * (exactly, for IPs and localhost), or the same registrable domain by a built-in table (docker.io,
 * ghcr.io, quay.io, gitlab.com, gcr.io, pkg.dev); https unless the source is http itself. */
bool source_trusts_realm(const struct source *s, const char *realm_url);
/* Splits a URL: scheme, host and port lower-cased (default port filled in), false if it is not http
 * or https with a host, or if it names a user. */
struct url_origin {
    char scheme[8];
    char host[256];
    unsigned port;
};
bool upstream_url_origin(const char *url, struct url_origin *out);
bool upstream_same_origin(const struct url_origin *a, const struct url_origin *b);
/* Of a numeric address, "10.0.0.1" or "::1"; ADDRESS_PUBLIC for names. Loopback, unspecified and
 * carrier-grade NAT count as private. */
enum address_range upstream_address_range(const char *address);

#endif
