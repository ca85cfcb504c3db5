/* SPDX-License-Identifier: Apache-2.0
 * An exchange is a few transfers in a row: at each step the address decides which credential may go
 * along. The path of a URL may be shown, its query never: signed URLs are secrets. */
#include "fetch/exchange.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"
#include "fetch/authorize.h"
#include "fetch/inside.h"
#include "oci/problem.h"
#include "upstream/token.h"
#include "upstream/upstream.h"

enum { MAX_HOPS = 10, ERROR_BODY_MAX = 64 << 10, ERROR_PAGE_MAX = 4 << 20 };

struct exchange {
    struct fetcher *fetcher;
    struct exchange_request request; /* its strings are the exchange's own */
    char *repository, *path, *accept;
    char *url; /* where it stands now */
    unsigned hops;
    bool is_foreign;                  /* redirected to another origin than the upstream's */
    struct challenge foreign;         /* of that origin */
    bool has_asked_again, has_pinged; /* one re-authentication an exchange, at each origin */
    bool sent_basic;
    bool is_passing; /* the final answer: goes to the caller */
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

static enum error_kind kind_of(int status)
{
    switch (status) {
    case 401:
    case 403:
        return ERR_NAME_UNKNOWN;
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
    enum error_kind kind = kind_of(head->status);
    if (x->sent_basic && !x->is_foreign && kind == ERR_NAME_UNKNOWN && head->status == 401)
        kind = ERR_CREDENTIALS;
    error_set(&e, kind, "%s answered %d for %.*s%s%s%s", x->request.upstream->url, head->status,
              (int)strcspn(x->path, "?"), x->path,
              kind == ERR_CREDENTIALS ? ": it rejects the configured user and password" : "",
              message[0] ? ": " : "", message);
    e.upstream_status = head->status;
    e.retry_after_s = head->retry_after_s;
    finish(x, head, &e);
}

static void finish_error(struct exchange *x, const struct head *head, enum error_kind kind,
                         const char *what)
{
    struct error e;
    error_set(&e, kind, "%s: %s", x->request.upstream->url, what);
    finish(x, head, &e);
}

/* --- redirects -------------------------------------------------------------------------------- */

/* Owned by the caller; NULL if it is no http(s) URL. */
static char *resolve(const char *base, const char *location)
{
    char *text = NULL, *result = NULL;
    const char *colon = strstr(location, "://");
    if (colon && colon == location + strcspn(location, "/?:") && strncasecmp(location, "http", 4) != 0)
        return NULL;
    CURLU *u = curl_url();
    if (u && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK)
        result = alloc_string(text);
    curl_free(text);
    curl_url_cleanup(u);
    struct url_origin origin;
    if (result && !upstream_url_origin(result, &origin)) {
        free(result);
        return NULL;
    }
    return result;
}

static void follow(struct exchange *x, const struct head *head)
{
    struct url_origin ours, from, to;
    if (!head->location[0] || ++x->hops > MAX_HOPS) {
        finish_error(x, head, ERR_UPSTREAM,
                     head->location[0] ? "too many redirects" : "a redirect without an address");
        return;
    }
    char *next = resolve(x->url, head->location);
    if (!next) {
        finish_error(x, head, ERR_UPSTREAM,
                     "a redirect to something that is not http or https is refused");
        return;
    }
    upstream_url_origin(x->url, &from);
    upstream_url_origin(next, &to);
    if (strcmp(from.scheme, "https") == 0 && strcmp(to.scheme, "https") != 0) {
        free(next);
        finish_error(x, head, ERR_UPSTREAM, "a redirect from https to http is refused");
        return;
    }
    if (!upstream_same_origin(&from, &to)) {
        x->has_asked_again = false;
        memset(&x->foreign, 0, sizeof x->foreign);
    }
    upstream_url_origin(x->request.upstream->url, &ours);
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
    x->request.upstream->challenge = head->challenge;
    step(x);
}

/* gcr answers 401 without a challenge on objects; /v2/ has it. */
static void ping(struct exchange *x)
{
    struct error e;
    autofree char *url = alloc_format("%s/v2/", x->request.upstream->url);
    struct transfer_request r = {.url = url,
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
    struct upstream *u = x->request.upstream;
    const struct challenge *c = &head->challenge;
    bool is_known = c->scheme == CHALLENGE_BEARER ||
                    (c->scheme == CHALLENGE_BASIC && u->username && !x->is_foreign);
    if (!x->is_foreign && c->scheme == CHALLENGE_NONE && !x->has_pinged && !x->has_asked_again) {
        ping(x);
        return;
    }
    if (x->has_asked_again || !is_known) {
        finish_status(x, head);
        return;
    }
    x->has_asked_again = true;
    if (strcmp(c->error, "insufficient_scope") == 0 &&
        challenge_scope_names(c->scope, x->repository))
        slice_copy(slice_of(c->scope), x->scope, sizeof x->scope);
    if (x->is_foreign) {
        x->foreign = *c;
    } else {
        authorization_forget(x->fetcher, u, &u->challenge, x->scope);
        u->challenge = *c;
    }
    step(x);
}

/* --- one transfer ----------------------------------------------------------------------------- */

static int on_head(void *cls, const struct head *head, struct error *e)
{
    struct exchange *x = cls;
    struct upstream *u = x->request.upstream;
    if (!x->is_foreign && upstream_is_private_address(head->primary_ip))
        u->is_private = true; /* it lives there by the operator's own choice */
    x->is_passing = head->status == 200 || (head->status == 206 && x->request.has_range);
    if (head->has_two_lengths)
        return error_set(e, ERR_UPSTREAM, "%s stated two lengths for one answer", u->url);
    if (!x->is_passing)
        return 0;
    if (head->content_encoding[0] && strcasecmp(head->content_encoding, "identity") != 0)
        return error_set(e, ERR_UPSTREAM, "%s sent a body in %s encoding, which nobody asked for",
                         u->url, head->content_encoding);
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
                         x->request.upstream->url, ERROR_PAGE_MAX);
    size_t room = ERROR_BODY_MAX - x->body.length;
    str_add_bytes(&x->body, bytes, length < room ? length : room);
    return 0;
}

static void on_done(void *cls, const struct head *head, const struct error *why)
{
    struct exchange *x = cls;
    x->transfer = NULL;
    bool is_redirect = head->status == 301 || head->status == 302 || head->status == 303 ||
                       head->status == 307 || head->status == 308;
    if (why)
        finish(x, head, why);
    else if (x->is_passing)
        finish(x, head, NULL);
    else if (is_redirect)
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
                                 .public_only = x->is_foreign && !x->request.upstream->is_private,
                                 .plain_http_allowed = strcmp(at.scheme, "http") == 0,
                                 .on_head = on_head,
                                 .on_body = on_body,
                                 .on_done = on_done,
                                 .cls = x};
    x->transfer = transfer_start(x->fetcher, &r, &e);
    if (!x->transfer)
        finish(x, NULL, &e);
}

static void authorized(void *cls, const char *token, const struct error *why)
{
    struct exchange *x = cls;
    x->authorization = NULL;
    if (why) {
        finish(x, NULL, why);
        return;
    }
    autofree char *credential = alloc_format("Bearer %s", token);
    send_request(x, credential);
}

static void step(struct exchange *x)
{
    struct upstream *u = x->request.upstream;
    const struct challenge *c = x->is_foreign ? &x->foreign : &u->challenge;
    x->sent_basic = false;
    if (c->scheme == CHALLENGE_BEARER && x->repository[0]) {
        x->authorization =
            authorization_ask(x->fetcher, u, c, x->is_foreign, x->scope, authorized, x);
    } else if (c->scheme == CHALLENGE_BASIC && !x->is_foreign && u->username) {
        autofree char *credential = token_basic(u->username, u->password);
        x->sent_basic = true;
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
    x->url = alloc_format("%s%s", r->upstream->url, r->path);
    snprintf(x->scope, sizeof x->scope, "repository:%s:pull", x->repository);
    x->begin.run = begin;
    fetcher_set_timer(f, &x->begin, 0);
    return x;
}
