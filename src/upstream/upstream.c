/* SPDX-License-Identifier: Apache-2.0
 * The closed world of registries, and which hosts belong together. */
#include "upstream/upstream.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "oci/digest.h"
#include "oci/reference.h"
#include "upstream/account.h"

struct table {
    struct upstream **all; /* borrowed from the pool */
    size_t count;
    size_t chosen; /* the default */
    struct table *retired;
};

/* Only held; linked once complete, and for good. */
struct held {
    struct upstream upstream;
    struct held *next;
};

/* A reader takes `now` once a lookup; a table is not changed after it was shared. */
struct upstreams {
    struct table *now;      /* atomic */
    struct held *held;      /* atomic: the latest */
    size_t held_count;      /* of who adds to them */
    struct upstream **pool; /* everyone that ever was, owned */
    size_t pool_count;
};

static const struct table *table_of(const struct upstreams *u)
{
    return __atomic_load_n(&u->now, __ATOMIC_ACQUIRE);
}

struct upstreams *upstreams_new(void)
{
    struct upstreams *u = alloc_zero(sizeof *u);
    u->now = alloc_zero(sizeof *u->now);
    return u;
}

static void free_list(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

static void free_way(struct source_way *w)
{
    free((char *)w->proxy);
    free((char *)w->ca_file);
    free((char *)w->client_certificate);
    free((char *)w->client_key);
}

static char *copy_text(const char *text)
{
    return text && text[0] ? alloc_string(text) : NULL;
}

static void free_upstream(struct upstream *u)
{
    for (size_t i = 0; i < u->source_count; i++) {
        free(u->sources[i].username);
        free(u->sources[i].password);
        free(u->sources[i].identity);
        free(u->sources[i].token);
        free_list(u->sources[i].realms);
        free_way(&u->sources[i].way);
    }
    free(u->sources);
    free_list(u->hosts);
    free_list(u->allow);
    free_list(u->deny);
    free_list(u->immutable_tags);
    free(u);
}

void upstreams_free(struct upstreams *u)
{
    for (struct table *t = u->now, *next; t; t = next) {
        next = t->retired;
        free(t->all);
        free(t);
    }
    for (struct held *h = u->held, *next; h; h = next) {
        next = h->next;
        free(h);
    }
    for (size_t i = 0; i < u->pool_count; i++)
        free_upstream(u->pool[i]);
    free(u->pool);
    free(u);
}

/* 0177.1, 0x7f000001 or 2130706433: libcurl dials 127.0.0.1, others look for a name. */
static bool is_odd_number(const char *host)
{
    unsigned char plain[4];
    struct slice before, last = slice_of(host);
    if (slice_ends(last, "."))
        last.length--;
    slice_cut_last(last, '.', &before, &last);
    bool is_hex = slice_starts(last, "0x");
    size_t digits = strspn(last.at, is_hex ? "0123456789abcdefx" : "0123456789");
    return last.length > 0 && digits >= last.length && !strchr(host, ':') &&
           inet_pton(AF_INET, host, plain) != 1;
}

bool upstream_url_origin(const char *url, struct url_origin *out)
{
    struct slice rest = slice_of(url), authority, host, port;
    struct url_origin o = {0};
    uint64_t number;
    bool is_https = strncasecmp(url, "https://", 8) == 0;
    if (!is_https && strncasecmp(url, "http://", 7) != 0)
        return false;
    slice_copy(slice_of(is_https ? "https" : "http"), o.scheme, sizeof o.scheme);
    rest = slice_sub(rest, is_https ? 8 : 7, rest.length);
    size_t end = 0;
    while (end < rest.length && !strchr("/?#", rest.at[end]))
        end++;
    authority = slice_sub(rest, 0, end);
    for (size_t i = 0; i < authority.length; i++)
        if (strchr("@\\%\"<> ", authority.at[i]) || (unsigned char)authority.at[i] < ' ')
            return false; /* what another parser might take for another host */
    host = authority;
    o.port = is_https ? 443 : 80;
    if (slice_starts(authority, "[")) {
        struct slice after;
        if (!slice_cut(authority, ']', &host, &after))
            return false;
        host = slice_sub(host, 1, host.length);
        port = after.length > 0 ? slice_sub(after, 1, after.length) : after;
    } else if (!slice_cut_last(authority, ':', &host, &port)) {
        port = (struct slice){0};
    }
    if (port.length > 0) {
        if (!slice_u64(port, 65535, &number) || number == 0)
            return false;
        o.port = (unsigned)number;
    }
    if (host.length == 0 || !slice_copy(host, o.host, sizeof o.host))
        return false;
    for (char *c = o.host; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    if (is_odd_number(o.host))
        return false;
    *out = o;
    return true;
}

bool upstream_same_origin(const struct url_origin *a, const struct url_origin *b)
{
    return strcmp(a->scheme, b->scheme) == 0 && strcmp(a->host, b->host) == 0 && a->port == b->port;
}

static enum address_range range_of_v6(const struct in6_addr *a)
{
    if (IN6_IS_ADDR_LINKLOCAL(a))
        return ADDRESS_LINK_LOCAL;
    bool is_private = IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_UNSPECIFIED(a) ||
                      IN6_IS_ADDR_SITELOCAL(a) || (a->s6_addr[0] & 0xfe) == 0xfc;
    return is_private ? ADDRESS_PRIVATE : ADDRESS_PUBLIC;
}

enum address_range upstream_address_range(const char *address)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET6, address, &v6) == 1) {
        if (!IN6_IS_ADDR_V4MAPPED(&v6))
            return range_of_v6(&v6);
        memcpy(&v4, v6.s6_addr + 12, sizeof v4);
    } else if (inet_pton(AF_INET, address, &v4) != 1) {
        return ADDRESS_PUBLIC;
    }
    uint32_t n = ntohl(v4.s_addr);
    if (n >> 16 == 0xa9fe)
        return ADDRESS_LINK_LOCAL;
    bool is_private = n >> 24 == 0 || n >> 24 == 10 || n >> 24 == 127 || n >> 20 == 0xac1 ||
                      n >> 16 == 0xc0a8 || n >> 22 == 0x191; /* 100.64/10, carrier-grade NAT */
    return is_private ? ADDRESS_PRIVATE : ADDRESS_PUBLIC;
}

static bool is_number_or_local(const char *host)
{
    struct in6_addr any;
    return strcmp(host, "localhost") == 0 || inet_pton(AF_INET, host, &any) == 1 ||
           inet_pton(AF_INET6, host, &any) == 1;
}

static char *identify(const char *username, const char *password)
{
    struct digest d;
    char hex[DIGEST_HEX_MAX];
    digest_of(DIGEST_SHA256, password, strlen(password), &d);
    return alloc_format("%s %s", username, digest_hex(&d, hex));
}

static int add_source(struct upstream *u, const char *url, const char *username,
                      const char *password, struct error *e)
{
    struct url_origin origin;
    struct source new = {0};
    struct slice trimmed = slice_of(url);
    if (!upstream_url_origin(url, &origin) || strpbrk(url, "?#@ \r\n"))
        return error_set(
            e, ERR_USAGE,
            "\"%s\" is no upstream URL: http(s)://HOST[:PORT][/PATH], without user or query", url);
    while (trimmed.length > 0 && trimmed.at[trimmed.length - 1] == '/')
        trimmed.length--;
    if (u->source_count == SOURCES_MAX)
        return error_set(e, ERR_USAGE, "%s has more than %d sources", u->registry, SOURCES_MAX);
    if (!slice_copy(trimmed, new.url, sizeof new.url))
        return error_set(e, ERR_USAGE, "the upstream URL of %s is too long", u->registry);
    for (size_t i = 0; i < u->source_count; i++)
        if (strcmp(u->sources[i].url, new.url) == 0)
            return error_set(e, ERR_USAGE, "%s is named twice among the sources of %s", new.url,
                             u->registry);
    new.reach = strcmp(origin.host, "localhost") == 0 ? ADDRESS_PRIVATE
                                                      : upstream_address_range(origin.host);
    new.username = username ? alloc_string(username) : NULL;
    new.password = username ? alloc_string(password ? password : "") : NULL;
    new.identity = username ? identify(username, new.password) : NULL;
    u->sources = alloc_grow(u->sources, u->source_count + 1, sizeof *u->sources);
    u->sources[u->source_count++] = new;
    return 0;
}

static char **copy_list(char *const *list)
{
    size_t count = 0;
    while (list && list[count])
        count++;
    char **copy = count > 0 ? alloc_array(count + 1, sizeof *copy) : NULL;
    for (size_t i = 0; i < count; i++)
        copy[i] = alloc_string(list[i]);
    return copy;
}

static int fill(struct upstream *new, const struct upstreams *u, const struct upstream_options *o,
                struct error *e)
{
    if (!reference_registry(slice_of(o->registry), new->registry, sizeof new->registry))
        return error_set(e, ERR_USAGE, "\"%s\" is no registry's name", o->registry);
    if (upstreams_find(u, slice_of(new->registry)))
        return error_set(e, ERR_USAGE, "the registry %s is there twice", new->registry);
    for (size_t i = 0; o->mirrors && o->mirrors[i]; i++) {
        const struct source_credential none = {0}, *c = o->mirror_credentials
                                                            ? &o->mirror_credentials[i]
                                                            : &none;
        if (add_source(new, o->mirrors[i], c->username, c->password, e) < 0)
            return -1;
    }
    if (add_source(new, o->origin, o->username, o->password, e) < 0)
        return -1;
    upstream_origin(new)->token = copy_text(o->token);
    upstream_origin(new)->realms = copy_list(o->realms);
    new->allows_private = o->allows_private;
    new->number = account_registry(new->registry);
    for (size_t i = 0; i < new->source_count; i++) {
        struct source_way *way = &new->sources[i].way;
        bool is_origin = i + 1 == new->source_count;
        health_init(&new->sources[i].health, is_origin);
        if (o->allows_private)
            new->sources[i].reach = ADDRESS_LINK_LOCAL;
        new->sources[i].account = account_of(new->registry, new->sources[i].url, is_origin);
        way->proxy = copy_text(o->way.proxy);
        way->ca_file = copy_text(o->way.ca_file);
        way->client_certificate = is_origin ? copy_text(o->way.client_certificate) : NULL;
        way->client_key = is_origin ? copy_text(o->way.client_key) : NULL;
    }
    for (size_t i = 0; o->hosts && o->hosts[i]; i++)
        if (upstreams_find_host(u, slice_of(o->hosts[i])))
            return error_set(e, ERR_USAGE, "the host %s belongs to two registries", o->hosts[i]);
    new->resolves_anywhere = o->resolves_anywhere;
    new->is_accelerated = o->is_accelerated;
    new->is_prefetched = o->is_prefetched;
    new->tag_ttl_ms = o->tag_ttl_ms;
    new->hosts = copy_list(o->hosts);
    new->allow = copy_list(o->allow);
    new->deny = copy_list(o->deny);
    new->immutable_tags = copy_list(o->immutable_tags);
    return 0;
}

int upstreams_add(struct upstreams *u, const struct upstream_options *o, struct error *e)
{
    struct upstream *new = alloc_zero(sizeof *new);
    if (fill(new, u, o, e) < 0) {
        free_upstream(new);
        return -1;
    }
    struct table *t = u->now;
    u->pool = alloc_grow(u->pool, u->pool_count + 1, sizeof(struct upstream *));
    u->pool[u->pool_count++] = new;
    t->all = alloc_grow(t->all, t->count + 1, sizeof(struct upstream *));
    t->all[t->count++] = new;
    return 0;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_list(char *const *a, char *const *b)
{
    if (!a || !b)
        return a == b;
    for (; *a && *b; a++, b++)
        if (strcmp(*a, *b) != 0)
            return false;
    return !*a && !*b;
}

/* By what is configured; what was learnt does not count. */
static bool is_same(const struct upstream *a, const struct upstream *b)
{
    if (strcmp(a->registry, b->registry) != 0 || a->source_count != b->source_count ||
        a->resolves_anywhere != b->resolves_anywhere || a->is_accelerated != b->is_accelerated ||
        a->is_prefetched != b->is_prefetched || a->tag_ttl_ms != b->tag_ttl_ms ||
        !same_list(a->hosts, b->hosts) || !same_list(a->allow, b->allow) ||
        !same_list(a->deny, b->deny) || !same_list(a->immutable_tags, b->immutable_tags) ||
        a->allows_private != b->allows_private)
        return false;
    for (size_t i = 0; i < a->source_count; i++) {
        const struct source *s = &a->sources[i], *t = &b->sources[i];
        if (strcmp(s->url, t->url) != 0 || !same_list(s->realms, t->realms) ||
            !same_text(s->username, t->username) || !same_text(s->password, t->password) ||
            !same_text(s->token, t->token) || !same_text(s->way.proxy, t->way.proxy) ||
            !same_text(s->way.ca_file, t->way.ca_file) ||
            !same_text(s->way.client_certificate, t->way.client_certificate) ||
            !same_text(s->way.client_key, t->way.client_key))
            return false;
    }
    return true;
}

/* The one of the pool that is configured alike, or new itself, which the pool then owns. */
static struct upstream *adopt(struct upstreams *u, struct upstream *new)
{
    for (size_t i = 0; i < u->pool_count; i++)
        if (is_same(u->pool[i], new)) {
            free_upstream(new);
            return u->pool[i];
        }
    u->pool = alloc_grow(u->pool, u->pool_count + 1, sizeof(struct upstream *));
    return u->pool[u->pool_count++] = new;
}

bool upstreams_replace(struct upstreams *u, struct upstreams *new)
{
    struct table *old = u->now, *t = new->now;
    bool is_changed = t->count != old->count || t->chosen != old->chosen;
    for (size_t i = 0; i < t->count; i++) {
        t->all[i] = adopt(u, t->all[i]);
        is_changed = is_changed || t->all[i] != old->all[i];
    }
    new->pool_count = 0; /* adopted or freed, all of them */
    if (is_changed) {
        new->now = NULL;
        t->retired = old;
        __atomic_store_n(&u->now, t, __ATOMIC_RELEASE);
    }
    upstreams_free(new);
    return is_changed;
}

static struct upstream *find_held(const struct upstreams *u, const char *name)
{
    for (struct held *h = __atomic_load_n(&u->held, __ATOMIC_ACQUIRE); h; h = h->next)
        if (strcmp(h->upstream.registry, name) == 0)
            return &h->upstream;
    return NULL;
}

bool upstreams_hold(struct upstreams *u, const char *registry)
{
    if (find_held(u, registry))
        return true;
    struct held *new = alloc_zero(sizeof *new);
    if (u->held_count == HELD_MAX || !reference_names_registry(slice_of(registry)) ||
        !reference_registry(slice_of(registry), new->upstream.registry,
                            sizeof new->upstream.registry)) {
        free(new);
        return false;
    }
    new->upstream.tag_ttl_ms = -1;
    new->upstream.number = account_registry(new->upstream.registry);
    new->next = u->held;
    u->held_count++;
    __atomic_store_n(&u->held, new, __ATOMIC_RELEASE);
    return true;
}

struct upstream *upstreams_find(const struct upstreams *u, struct slice registry)
{
    char name[256];
    const struct table *t = table_of(u);
    if (!reference_registry(registry, name, sizeof name))
        return NULL;
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->all[i]->registry, name) == 0)
            return t->all[i];
    return find_held(u, name);
}

struct upstream *upstreams_find_host(const struct upstreams *u, struct slice host)
{
    struct slice name = host, port;
    const struct table *t = table_of(u);
    /* "[::1]:5000" is cut at its port, "[::1]" is not */
    if (slice_cut_last(host, ':', &name, &port) && memchr(port.at, ']', port.length))
        name = host;
    for (size_t i = 0; i < t->count; i++)
        for (char *const *h = t->all[i]->hosts; h && *h; h++)
            if ((strlen(*h) == name.length && strncasecmp(*h, name.at, name.length) == 0) ||
                (strlen(*h) == host.length && strncasecmp(*h, host.at, host.length) == 0))
                return t->all[i];
    return NULL;
}

struct upstream *upstreams_default(const struct upstreams *u)
{
    const struct table *t = table_of(u);
    return t->count > 0 ? t->all[t->chosen] : NULL;
}

bool upstreams_choose_default(struct upstreams *u, const char *registry)
{
    const struct table *t = table_of(u);
    const struct upstream *wanted = upstreams_find(u, slice_of(registry));
    for (size_t i = 0; wanted && i < t->count; i++)
        if (t->all[i] == wanted)
            u->now->chosen = i;
    return wanted != NULL;
}

struct upstream *upstreams_at(const struct upstreams *u, size_t i)
{
    const struct table *t = table_of(u);
    return i < t->count ? t->all[i] : NULL;
}

struct source *upstream_origin(const struct upstream *u)
{
    return upstream_is_only_held(u) ? NULL : &u->sources[u->source_count - 1];
}

bool upstream_is_only_held(const struct upstream *u)
{
    return u->source_count == 0;
}

bool upstream_has_credentials(const struct upstream *u)
{
    for (size_t i = 0; i < u->source_count; i++)
        if (u->sources[i].username || u->sources[i].token)
            return true;
    return false;
}

bool upstreams_have_credentials(const struct upstreams *u)
{
    const struct table *t = table_of(u);
    for (size_t i = 0; i < t->count; i++)
        if (upstream_has_credentials(t->all[i]))
            return true;
    return false;
}

static const char *matching(char *const *globs, const char *text)
{
    for (; globs && *globs; globs++)
        if (fnmatch(*globs, text, 0) == 0)
            return *globs;
    return NULL;
}

bool upstream_allows(const struct upstream *u, const char *repository, const char **rule)
{
    const char *denied = matching(u->deny, repository), *allowed = matching(u->allow, repository);
    *rule = denied ? denied : allowed ? allowed : "";
    return !denied && (!u->allow || allowed);
}

bool upstream_is_immutable_tag(const struct upstream *u, const char *tag)
{
    return matching(u->immutable_tags, tag) != NULL;
}

static bool is_under(const char *host, const char *domain)
{
    size_t h = strlen(host), d = strlen(domain);
    return h >= d && strcmp(host + h - d, domain) == 0 && (h == d || host[h - d - 1] == '.');
}

bool source_trusts_realm(const struct source *s, const char *realm_url)
{
    static const char *const domains[] = {"docker.io",  "ghcr.io", "quay.io",
                                          "gitlab.com", "gcr.io",  "pkg.dev"};
    struct url_origin ours, theirs;
    if (!upstream_url_origin(s->url, &ours) || !upstream_url_origin(realm_url, &theirs))
        return false;
    if (strcmp(theirs.scheme, "https") != 0 && strcmp(ours.scheme, "http") != 0)
        return false;
    if (strcmp(ours.host, theirs.host) == 0)
        return true;
    for (char **host = s->realms; host && *host; host++)
        if (strcasecmp(*host, theirs.host) == 0)
            return true;
    if (is_number_or_local(ours.host) || is_number_or_local(theirs.host))
        return false;
    for (size_t i = 0; i < sizeof domains / sizeof *domains; i++)
        if (is_under(ours.host, domains[i]) && is_under(theirs.host, domains[i]))
            return true;
    return false;
}
