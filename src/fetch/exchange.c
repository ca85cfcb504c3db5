/* SPDX-License-Identifier: Apache-2.0
 * An exchange is a few transfers in a row: at each step the address decides which credential may go
 * along. The path of a URL may be shown, its query never: signed URLs are secrets. */
#include "fetch/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"
#include "fetch/authorize.h"
#include "fetch/inside.h"
#include "fetch/redirect.h"
#include "oci/problem.h"
#include "upstream/token.h"
#include "upstream/upstream.h"

#define WITHHELD ": its token service is none of the realms that may see the credential"

enum { ERROR_BODY_MAX = 64 << 10, ERROR_PAGE_MAX = 4 << 20 };

struct exchange {
    struct fetcher *fetcher;
    struct exchange_request request; /* its strings are the exchange's own */
    char *repository, *path, *accept;
    char *url; /* where it stands now */
    unsigned hops;
    bool is_foreign;                  /* redirected to another origin than the upstream's */
    struct challenge foreign;         /* of that origin */
    bool has_asked_again, has_pinged; /* one re-authentication an exchange, at each origin */
    bool has_widened;                 /* and one more with the scope that a registry insists on */
    bool sent_credential;             /* the source's own, as it is */
    char *sent_token;                 /* NULL: none */
    bool is_passing;                  /* the final answer: goes to the caller */
    char scope[600];
    struct timer begin;
    struct transfer *transfer;
    struct authorization *authorization; /* waits for a token */
    struct str body;                     /* of an error */
};

static void step(struct exchange *x);

/* --- the end ---------------------------------------------------------------------------------- */

static void release(struct exchange *x)
{
    fetcher_clear_timer(x->fetcher, &x->begin);
    str_fini(&x->body);
    free(x->repository);
    free(x->path);
    free(x->accept);
    free(x->url);
    free(x->sent_token);
    free(x);
}

static void finish(struct exchange *x, const struct head *head, const struct error *why)
{
    struct error kept = why ? *why : (struct error){0};
    static const struct head no_head = {.content_length = -1};
    x->request.on_done(x->request.cls, head ? head : &no_head, why ? &kept : NULL);
    release(x);
}

void exchange_cancel(struct exchange *x)
{
    if (x->transfer)
        transfer_cancel(x->transfer);
    if (x->authorization)
        authorization_cancel(x->authorization);
    release(x);
}

bool exchange_is_under_way(const struct exchange *x)
{
    return x->authorization || (x->transfer && transfer_is_running(x->transfer));
}

/* A 401 or 403 tells that there is no such repository for us only if a registry says it: not the
 * page of a firewall, nor a CDN whose signed URL went stale. */
static bool is_registrys_word(const struct exchange *x, const struct head *head, const char *code)
{
    if (code[0])
        return true;
    if (x->is_foreign)
        return strncasecmp(head->content_type, "application/json", 16) == 0;
    return strncasecmp(head->content_type, "text/html", 9) != 0;
}

/* Its token service is none that may see the user and password: a refusal says nothing of what
 * there is for who has them. */
static bool is_withheld(const struct exchange *x)
{
    const struct source *s = x->request.source;
    return !x->is_foreign && s->username && s->challenge.scheme == CHALLENGE_BEARER &&
           !source_trusts_realm(s, s->challenge.realm);
}

static enum error_kind kind_of(const struct exchange *x, const struct head *head, const char *code)
{
    switch (head->status) {
    case 401:
        if (x->sent_credential || is_withheld(x))
            return ERR_CREDENTIALS;
        return is_registrys_word(x, head, code) ? ERR_NAME_UNKNOWN : ERR_UPSTREAM;
    case 403:
        if (is_withheld(x))
            return ERR_CREDENTIALS;
        return is_registrys_word(x, head, code) ? ERR_NAME_UNKNOWN : ERR_UPSTREAM;
    case 404:
        return ERR_NOT_FOUND;
    case 416:
        return ERR_RANGE_INVALID;
    case 429:
        return ERR_LIMITED;
    default:
        return ERR_UPSTREAM;
    }
}

static void finish_status(struct exchange *x, const struct head *head)
{
    struct error e;
    char code[64] = "", message[160] = "";
    problem_read(str_text(&x->body), x->body.length, code, sizeof code, message, sizeof message);
    enum error_kind kind = kind_of(x, head, code);
    error_set(&e, kind, "%s answered %d for %.*s%s%s%s", x->request.source->url, head->status,
              (int)strcspn(x->path, "?"), x->path,
              kind != ERR_CREDENTIALS ? ""
              : is_withheld(x)        ? WITHHELD
                                      : ": it rejects the configured credential",
              message[0] ? ": " : "", message);
    e.upstream_status = head->status;
    e.retry_after_s = head->retry_after_s;
    finish(x, head, &e);
}

static void finish_error(struct exchange *x, const struct head *head, enum error_kind kind,
                         const char *what)
{
    struct error e;
    error_set(&e, kind, "%s: %s", x->request.source->url, what);
    e.upstream_status = head->status;
    finish(x, head, &e);
}

/* --- redirects -------------------------------------------------------------------------------- */

static void follow(struct exchange *x, const struct head *head)
{
    struct url_origin ours, from, to;
    struct error e;
    char *next = NULL;
    if (++x->hops > REDIRECT_MAX_HOPS)
        error_set(&e, ERR_UPSTREAM, "too many redirects");
    else
        next = redirect_resolve(x->url, head->location, &e);
    if (!next) {
        error_prefix(&e, "%s", x->request.source->url);
        e.upstream_status = head->status;
        finish(x, head, &e);
        return;
    }
    upstream_url_origin(x->url, &from);
    upstream_url_origin(next, &to);
    if (!upstream_same_origin(&from, &to)) {
        x->has_asked_again = false;
        memset(&x->foreign, 0, sizeof x->foreign);
    }
    upstream_url_origin(x->request.source->url, &ours);
    x->is_foreign = !upstream_same_origin(&ours, &to);
    free(x->url);
    x->url = next;
    step(x);
}

/* --- 401 -------------------------------------------------------------------------------------- */

static void pinged(void *cls, const struct head *head, const struct error *why)
{
    struct exchange *x = cls;
    x->transfer = NULL;
    if (why || head->challenge.scheme == CHALLENGE_NONE) {
        if (why)
            finish(x, head, why);
        else
            finish_error(x, head, ERR_NAME_UNKNOWN,
                         "it refuses without saying how to authenticate");
        return;
    }
    x->has_asked_again = true;
    x->request.source->challenge = head->challenge;
    step(x);
}

/* gcr answers 401 without a challenge on objects; /v2/ has it. */
static void ping(struct exchange *x)
{
    struct error e;
    autofree char *url = alloc_format("%s/v2/", x->request.source->url);
    struct transfer_request r = {.url = url,
                                 .source = x->request.source,
                                 .shows_certificate = true,
                                 .reach = ADDRESS_LINK_LOCAL,
                                 .plain_http_allowed = strncasecmp(url, "http:", 5) == 0,
                                 .on_done = pinged,
                                 .cls = x};
    x->has_pinged = true;
    x->transfer = transfer_start(x->fetcher, &r, &e);
    if (!x->transfer)
        finish(x, NULL, &e);
}

static void refused(struct exchange *x, const struct head *head)
{
    struct source *s = x->request.source;
    const struct challenge *c = &head->challenge;
    if (x->sent_token)
        authorization_forget(x->fetcher, s, x->is_foreign ? &x->foreign : &s->challenge,
                             x->is_foreign, x->scope, x->sent_token);
    bool is_known = c->scheme == CHALLENGE_BEARER ||
                    (c->scheme == CHALLENGE_BASIC && s->username && !x->is_foreign);
    if (s->token && !x->is_foreign)
        is_known = false;
    if (!x->is_foreign && c->scheme == CHALLENGE_NONE && !x->has_pinged && !x->has_asked_again) {
        ping(x);
        return;
    }
    bool is_other_scope = strcmp(c->error, "insufficient_scope") == 0 && !x->has_widened &&
                          challenge_scope_names(c->scope, x->repository) &&
                          strcmp(c->scope, x->scope) != 0;
    if ((x->has_asked_again && !is_other_scope) || !is_known) {
        finish_status(x, head);
        return;
    }
    x->has_asked_again = true;
    if (is_other_scope)
        x->has_widened = slice_copy(slice_of(c->scope), x->scope, sizeof x->scope);
    if (x->is_foreign)
        x->foreign = *c;
    else
        s->challenge = *c;
    step(x);
}

/* --- one transfer ----------------------------------------------------------------------------- */

static int on_head(void *cls, const struct head *head, struct error *e)
{
    struct exchange *x = cls;
    struct source *s = x->request.source;
    enum address_range range = upstream_address_range(head->primary_ip);
    if (!x->is_foreign && range > s->reach)
        s->reach = range; /* it lives there by the operator's own choice */
    if (x->request.on_sign)
        x->request.on_sign(x->request.cls, head);
    x->is_passing = head->status == 200 || (head->status == 206 && x->request.has_range);
    if (!x->is_passing)
        return 0;
    if (head->content_encoding[0] && strcasecmp(head->content_encoding, "identity") != 0)
        return error_set(e, ERR_UPSTREAM, "%s sent a body in %s encoding, which nobody asked for",
                         s->url, head->content_encoding);
    return x->request.on_head ? x->request.on_head(x->request.cls, head, e) : 0;
}

static int on_body(void *cls, const void *bytes, size_t length, struct error *e)
{
    struct exchange *x = cls;
    if (x->is_passing)
        return x->request.on_body ? x->request.on_body(x->request.cls, bytes, length, e) : 0;
    /* A long page must not turn "not found" into something else; an endless one must end. */
    if (transfer_received(x->transfer) > ERROR_PAGE_MAX)
        return error_set(e, ERR_UPSTREAM, "%s sent more than %d bytes to explain an error",
                         x->request.source->url, ERROR_PAGE_MAX);
    size_t room = ERROR_BODY_MAX - x->body.length;
    str_add_bytes(&x->body, bytes, length < room ? length : room);
    return 0;
}

static void on_done(void *cls, const struct head *head, const struct error *why)
{
    struct exchange *x = cls;
    x->transfer = NULL;
    if (why)
        finish(x, head, why);
    else if (x->is_passing)
        finish(x, head, NULL);
    else if (redirect_is(head->status))
        follow(x, head);
    else if (head->status == 401)
        refused(x, head);
    else
        finish_status(x, head);
}

static void send_request(struct exchange *x, const char *credential)
{
    struct error e;
    struct url_origin at;
    upstream_url_origin(x->url, &at);
    str_clear(&x->body);
    struct transfer_request r = {.url = x->url,
                                 .is_head = x->request.is_head,
                                 .accept = x->accept,
                                 .authorization = credential,
                                 .has_range = x->request.has_range,
                                 .range_first = x->request.range_first,
                                 .range_last = x->request.range_last,
                                 .source = x->request.source,
                                 .shows_certificate = !x->is_foreign,
                                 .reach =
                                     x->is_foreign ? x->request.source->reach : ADDRESS_LINK_LOCAL,
                                 .plain_http_allowed = strcmp(at.scheme, "http") == 0,
                                 .on_head = on_head,
                                 .on_body = on_body,
                                 .on_done = on_done,
                                 .cls = x};
    x->transfer = transfer_start(x->fetcher, &r, &e);
    if (!x->transfer) {
        error_prefix(&e, "%s", x->request.source->url);
        finish(x, NULL, &e);
    }
}

static void authorized(void *cls, const char *token, const struct error *why)
{
    struct exchange *x = cls;
    struct error e;
    x->authorization = NULL;
    if (why && why->kind == ERR_NAME_UNKNOWN && is_withheld(x)) {
        error_set(&e, ERR_CREDENTIALS, "%s" WITHHELD, x->request.source->url);
        e.upstream_status = why->upstream_status;
        finish(x, NULL, &e);
        return;
    }
    if (why) {
        /* Its service may have moved: the next one asks the registry first. */
        if (!x->is_foreign && (why->kind == ERR_UPSTREAM || why->kind == ERR_TIMEOUT))
            x->request.source->challenge.scheme = CHALLENGE_NONE;
        finish(x, NULL, why);
        return;
    }
    x->sent_token = alloc_string(token);
    autofree char *credential = alloc_format("Bearer %s", token);
    send_request(x, credential);
}

static void step(struct exchange *x)
{
    struct source *s = x->request.source;
    const struct challenge *c = x->is_foreign ? &x->foreign : &s->challenge;
    x->sent_credential = false;
    free(x->sent_token);
    x->sent_token = NULL;
    if (s->token && !x->is_foreign) {
        autofree char *credential = alloc_format("Bearer %s", s->token);
        x->sent_credential = true;
        send_request(x, credential);
    } else if (c->scheme == CHALLENGE_BEARER && x->repository[0]) {
        x->authorization =
            authorization_ask(x->fetcher, s, c, x->is_foreign, x->scope, authorized, x);
    } else if (c->scheme == CHALLENGE_BASIC && !x->is_foreign && s->username) {
        autofree char *credential = token_basic(s->username, s->password);
        x->sent_credential = true;
        send_request(x, credential);
    } else {
        send_request(x, NULL);
    }
}

static void begin(struct timer *t)
{
    step((struct exchange *)((char *)t - offsetof(struct exchange, begin)));
}

struct exchange *exchange_start(struct fetcher *f, const struct exchange_request *r,
                                struct error *e)
{
    if (fetcher_is_stopping(f))
        return error_set(e, ERR_STOPPING, "the mirror is stopping"), NULL;
    struct exchange *x = alloc_zero(sizeof *x);
    x->fetcher = f;
    x->request = *r;
    x->repository = alloc_string(r->repository ? r->repository : "");
    x->path = alloc_string(r->path);
    x->accept = r->accept ? alloc_string(r->accept) : NULL;
    x->request.repository = x->request.path = x->request.accept = NULL;
    x->url = alloc_format("%s%s", r->source->url, r->path);
    snprintf(x->scope, sizeof x->scope, "repository:%s:pull", x->repository);
    x->begin.run = begin;
    fetcher_set_timer(f, &x->begin, 0);
    return x;
}
