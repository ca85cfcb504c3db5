/* SPDX-License-Identifier: Apache-2.0
 * A realm gets the upstream's credentials only if source_trusts_realm says so; every other one is
 * asked anonymously. */
#include "fetch/authorize.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/str.h"
#include "fetch/inside.h"
#include "fetch/redirect.h"
#include "oci/challenge.h"
#include "upstream/token.h"
#include "upstream/upstream.h"

enum { ANSWER_MAX_BYTES = 1 << 20 };

struct authorization {
    TAILQ_ENTRY(authorization) next;
    struct token_wait *wait;
    void (*done)(void *cls, const char *token, const struct error *why);
    void *cls;
};

/* One question to a token service and everyone who waits for its answer. */
struct token_wait {
    struct token_wait *next;
    struct fetcher *fetcher;
    const struct source *source;
    char *realm, *service, *scope;
    char *url; /* redirected there; NULL: the realm */
    unsigned hops;
    bool has_credentials, is_post, is_plain_fine;
    enum address_range reach;
    struct timer begin;
    struct transfer *transfer;
    struct str body;
    TAILQ_HEAD(, authorization) askers;
};

/* A registry may send us no further in than where it lives, but for its own host. */
static enum address_range reach_of(const struct source *s, const char *url)
{
    struct url_origin ours, theirs;
    bool is_own = upstream_url_origin(s->url, &ours) && upstream_url_origin(url, &theirs) &&
                  upstream_same_origin(&ours, &theirs);
    return is_own ? ADDRESS_LINK_LOCAL : s->reach;
}

static struct token_key key_of(const struct token_wait *w)
{
    return (struct token_key){w->realm, w->service, w->scope,
                              w->has_credentials ? w->source->identity : ""};
}

static void finish(struct token_wait *w, const char *token, const struct error *why)
{
    struct authorization *a;
    struct token_wait **at = &w->fetcher->token_waits;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    while ((a = TAILQ_FIRST(&w->askers))) {
        TAILQ_REMOVE(&w->askers, a, next);
        a->done(a->cls, token, why);
        free(a);
    }
    fetcher_clear_timer(w->fetcher, &w->begin);
    str_fini(&w->body);
    free(w->realm);
    free(w->service);
    free(w->scope);
    free(w->url);
    free(w);
}

static int on_body(void *cls, const void *bytes, size_t length, struct error *e)
{
    struct token_wait *w = cls;
    if (w->body.length + length > ANSWER_MAX_BYTES)
        return error_set(e, ERR_UPSTREAM, "the token service of %s sent more than %d bytes",
                         w->source->url, ANSWER_MAX_BYTES);
    str_add_bytes(&w->body, bytes, length);
    return 0;
}

static void refused(struct token_wait *w, const struct head *head)
{
    struct error e;
    bool is_refusal = head->status == 401 || head->status == 403;
    enum error_kind kind = is_refusal ? w->has_credentials ? ERR_CREDENTIALS : ERR_NAME_UNKNOWN
                           : head->status == 429 ? ERR_LIMITED
                                                 : ERR_UPSTREAM;
    error_set(&e, kind, "the token service of %s answered %d%s", w->source->url, head->status,
              kind == ERR_CREDENTIALS ? ": it rejects the configured user and password" : "");
    e.upstream_status = head->status;
    e.retry_after_s = head->retry_after_s;
    finish(w, NULL, &e);
}

/* The user and password of a registry are given to its own realm only, however it is reached. */
static void follow(struct token_wait *w, const struct head *head)
{
    struct error e;
    struct token_key key = key_of(w);
    char *next = NULL;
    autofree char *from = w->url ? alloc_string(w->url) : token_url(&key);
    if (++w->hops > REDIRECT_MAX_HOPS)
        error_set(&e, ERR_UPSTREAM, "too many redirects");
    else
        next = redirect_resolve(from, head->location, &e);
    if (next && w->has_credentials && !source_trusts_realm(w->source, next)) {
        error_set(&e, ERR_UPSTREAM, "a redirect to a host that may not see the password");
        free(next);
        next = NULL;
    }
    if (!next) {
        error_prefix(&e, "the token service of %s", w->source->url);
        finish(w, NULL, &e);
        return;
    }
    free(w->url);
    w->url = next;
    w->reach = reach_of(w->source, next);
    fetcher_set_timer(w->fetcher, &w->begin, 0);
}

static void on_done(void *cls, const struct head *head, const struct error *why)
{
    struct token_wait *w = cls;
    struct error e = {0};
    char *token = NULL;
    int64_t lifetime_s = 0;
    w->transfer = NULL;
    if (why) {
        e = *why;
        finish(w, NULL, &e);
        return;
    }
    if ((head->status == 404 || head->status == 405) && w->has_credentials && !w->is_post) {
        w->is_post = true;
        fetcher_set_timer(w->fetcher, &w->begin, 0);
        return;
    }
    if (redirect_is(head->status) && !w->is_post) {
        follow(w, head);
        return;
    }
    if (head->status != 200) {
        refused(w, head);
        return;
    }
    if (token_read_answer(str_text(&w->body), w->body.length, &token, &lifetime_s, &e) < 0) {
        e.kind = ERR_UPSTREAM;
        finish(w, NULL, &e);
        return;
    }
    struct token_key key = key_of(w);
    tokens_put(w->fetcher->tokens, &key, token, lifetime_s, clock_mono_ms());
    finish(w, token, NULL);
    free(token);
}

static char *form_of(const struct token_wait *w)
{
    autostr struct str form = {0};
    str_add(&form, "grant_type=password&client_id=tranship&service=");
    str_percent_encode(&form, slice_of(w->service), "");
    str_add(&form, "&scope=");
    str_percent_encode(&form, slice_of(w->scope), "");
    str_add(&form, "&username=");
    str_percent_encode(&form, slice_of(w->source->username), "");
    str_add(&form, "&password=");
    str_percent_encode(&form, slice_of(w->source->password), "");
    return str_take(&form);
}

static void ask(struct timer *t)
{
    struct token_wait *w = (struct token_wait *)((char *)t - offsetof(struct token_wait, begin));
    struct error e;
    struct token_key key = key_of(w);
    autofree char *url = w->is_post ? alloc_string(w->realm)
                         : w->url   ? alloc_string(w->url)
                                    : token_url(&key);
    autofree char *form = w->is_post ? form_of(w) : NULL;
    autofree char *basic = w->has_credentials && !w->is_post
                               ? token_basic(w->source->username, w->source->password)
                               : NULL;
    struct transfer_request r = {.url = url,
                                 .accept = "application/json",
                                 .authorization = basic,
                                 .post_body = form,
                                 .source = w->source,
                                 .reach = w->reach,
                                 .plain_http_allowed = w->is_plain_fine,
                                 .on_body = on_body,
                                 .on_done = on_done,
                                 .cls = w};
    str_clear(&w->body);
    metric_add(token_requests_total, 1);
    w->transfer = transfer_start(w->fetcher, &r, &e);
    if (!w->transfer) {
        error_prefix(&e, "the token service of %s", w->source->url);
        finish(w, NULL, &e);
    }
}

static struct token_wait *find(struct fetcher *f, const struct token_key *k, const struct source *s)
{
    for (struct token_wait *w = f->token_waits; w; w = w->next) {
        struct token_key other = key_of(w);
        if (w->source == s && strcmp(other.realm, k->realm) == 0 &&
            strcmp(other.service, k->service) == 0 && strcmp(other.scope, k->scope) == 0 &&
            strcmp(other.identity, k->identity) == 0)
            return w;
    }
    return NULL;
}

/* A token that is there already is told from the loop too, never from within the question. */
static void serve_from_cache(struct timer *t)
{
    struct token_wait *w = (struct token_wait *)((char *)t - offsetof(struct token_wait, begin));
    struct token_key key = key_of(w);
    const char *token = tokens_get(w->fetcher->tokens, &key, clock_mono_ms());
    if (!token) {
        ask(t);
        return;
    }
    autofree char *kept = alloc_string(token);
    finish(w, kept, NULL);
}

struct authorization *
authorization_ask(struct fetcher *f, const struct source *s, const struct challenge *c,
                  bool is_foreign, const char *scope,
                  void (*done)(void *cls, const char *token, const struct error *why), void *cls)
{
    bool has_credentials = s->username && !is_foreign && source_trusts_realm(s, c->realm);
    struct token_key key = {c->realm, c->service, scope, has_credentials ? s->identity : ""};
    struct token_wait *w = find(f, &key, s);
    struct authorization *a = alloc_zero(sizeof *a);
    a->done = done;
    a->cls = cls;
    if (!w) {
        w = alloc_zero(sizeof *w);
        w->fetcher = f;
        w->source = s;
        w->realm = alloc_string(c->realm);
        w->service = alloc_string(c->service);
        w->scope = alloc_string(scope);
        w->has_credentials = has_credentials;
        w->is_plain_fine = strncasecmp(s->url, "http:", 5) == 0;
        w->reach = reach_of(s, c->realm);
        TAILQ_INIT(&w->askers);
        w->next = f->token_waits;
        f->token_waits = w;
        w->begin.run = serve_from_cache;
        fetcher_set_timer(f, &w->begin, 0);
    }
    a->wait = w;
    TAILQ_INSERT_TAIL(&w->askers, a, next);
    return a;
}

void authorization_cancel(struct authorization *a)
{
    TAILQ_REMOVE(&a->wait->askers, a, next); /* the question goes on: its token will be of use */
    free(a);
}

void authorization_forget(struct fetcher *f, const struct source *s, const struct challenge *c,
                          bool is_foreign, const char *scope, const char *token)
{
    bool has_credentials = s->username && !is_foreign && source_trusts_realm(s, c->realm);
    struct token_key key = {c->realm, c->service, scope, has_credentials ? s->identity : ""};
    const char *cached = tokens_get(f->tokens, &key, clock_mono_ms());
    if (cached && strcmp(cached, token) == 0)
        tokens_forget(f->tokens, &key);
}

int64_t authorization_left_ms(struct fetcher *f, const struct source *s, const char *repository)
{
    const struct challenge *c = &s->challenge;
    if (c->scheme != CHALLENGE_BEARER)
        return 0;
    autofree char *scope = alloc_format("repository:%s:pull", repository);
    bool has_credentials = s->username && source_trusts_realm(s, c->realm);
    struct token_key key = {c->realm, c->service, scope, has_credentials ? s->identity : ""};
    return tokens_left_ms(f->tokens, &key, clock_mono_ms());
}
