/* SPDX-License-Identifier: Apache-2.0
 * libcurl's easy interface in one place. Time-outs of ours: headers from when the request really
 * begins, and the stall of a body, checked lazily so that no packet touches a timer. */
#include "fetch/transfer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/str.h"
#include "fetch/inside.h"
#include "fetch/proxy.h"
#include "upstream/account.h"
#include "upstream/upstream.h"

enum {
    HEADERS_MAX_BYTES = 64 << 10,
    BUFFER_BYTES = 256 << 10,
    IDLE_CONNECTION_S = 60,
    IGNORED_BODY_MAX = 64 << 10,
    PAUSE_MS = 4 /* until bytes that could not be taken are offered again */
};

struct transfer {
    TAILQ_ENTRY(transfer) next;
    struct fetcher *fetcher;
    struct host *host;
    struct transfer_request request; /* pointers into what follows, or callbacks */
    char *url, *shown;               /* shown: without a query */
    CURL *easy;
    struct curl_slist *headers;
    struct timer watch, resume;
    struct head head;
    struct error error;
    const char *proxy; /* NULL: none */
    bool is_running, has_head, has_failed;
    size_t header_bytes;
    uint64_t received;
    int64_t began_ms, progress_ms;
    char curl_error[CURL_ERROR_SIZE];
};

static void end(struct transfer *t, const struct error *why);

/* --- headers ---------------------------------------------------------------------------------- */

static void measure(struct transfer *t)
{
    curl_off_t tcp_us = 0, tls_us = 0;
    curl_easy_getinfo(t->easy, CURLINFO_CONNECT_TIME_T, &tcp_us);
    curl_easy_getinfo(t->easy, CURLINFO_APPCONNECT_TIME_T, &tls_us);
    t->head.connect_ms = (tls_us > tcp_us ? tls_us : tcp_us) / 1000;
    t->head.first_byte_ms = t->progress_ms - t->began_ms;
}

static bool head_complete(struct transfer *t)
{
    long status = 0;
    char *ip = NULL;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_IP, &ip);
    t->head.status = (int)status;
    if (ip && !t->proxy)
        slice_copy(slice_of(ip), t->head.primary_ip, sizeof t->head.primary_ip);
    if (status < 200)
        return true; /* 100 Continue and the like: the real one follows */
    head_end(&t->head);
    t->has_head = true;
    t->progress_ms = clock_mono_ms();
    measure(t);
    fetcher_set_timer(t->fetcher, &t->watch, t->fetcher->options.stall_timeout_ms);
    if (t->request.on_head && t->request.on_head(t->request.cls, &t->head, &t->error) < 0) {
        t->has_failed = true;
        return false;
    }
    return true;
}

static size_t refuse_head(struct transfer *t)
{
    t->has_failed = true;
    error_prefix(&t->error, "%s", t->shown);
    return 0;
}

static size_t on_header(char *at, size_t each, size_t count, void *cls)
{
    struct transfer *t = cls;
    size_t length = each * count;
    struct slice line = {at, length};
    t->header_bytes += length;
    if (t->header_bytes > HEADERS_MAX_BYTES) {
        error_set(&t->error, ERR_UPSTREAM, "more than %d bytes of headers", HEADERS_MAX_BYTES);
        return refuse_head(t);
    }
    bool is_last = line.length == 0 || line.at[0] == '\r' || line.at[0] == '\n';
    if (slice_starts(line, "HTTP/") && !t->has_head)
        head_init(&t->head);
    else if (is_last && !t->has_head)
        return head_complete(t) ? length : 0;
    else if (!t->has_head && head_read_line(&t->head, line, &t->error) < 0)
        return refuse_head(t);
    return length;
}

static size_t on_body(char *at, size_t each, size_t count, void *cls)
{
    struct transfer *t = cls;
    size_t length = each * count;
    t->progress_ms = clock_mono_ms(); /* it is not the upstream that is slow, if it is paused */
    int result = t->request.on_body ? t->request.on_body(t->request.cls, at, length, &t->error) : 0;
    if (result > 0) {
        fetcher_set_timer(t->fetcher, &t->resume, PAUSE_MS);
        return CURL_WRITEFUNC_PAUSE;
    }
    t->received += length;
    metric_add(upstream_bytes_total, (int64_t)length);
    if (t->request.source)
        count_add(&t->request.source->account->bytes, (int64_t)length);
    if (result < 0)
        t->has_failed = true;
    bool is_enough = !t->request.on_body && t->received > IGNORED_BODY_MAX;
    return result < 0 || is_enough ? 0 : length;
}

/* libcurl offers the same bytes again from within. */
static void resume(struct timer *timer)
{
    struct transfer *t = (struct transfer *)((char *)timer - offsetof(struct transfer, resume));
    curl_easy_pause(t->easy, CURLPAUSE_CONT);
    if (t->has_failed) {
        struct error why = t->error;
        end(t, &why);
    }
}

/* --- addresses -------------------------------------------------------------------------------- */

static void refuse_private(struct transfer *t, const char *address)
{
    t->has_failed = true;
    error_set(&t->error, ERR_UPSTREAM, "%s leads to the private address %s, which is refused",
              t->shown, address);
}

static curl_socket_t open_socket(void *cls, curlsocktype purpose, struct curl_sockaddr *a)
{
    const void *at = &a->addr;
    const struct sockaddr_in *v4 = at;
    const struct sockaddr_in6 *v6 = at;
    char text[INET6_ADDRSTRLEN] = "";
    (void)purpose;
    if (a->family == AF_INET)
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    else if (a->family == AF_INET6)
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    if (upstream_address_range(text) > ((struct transfer *)cls)->request.reach) {
        refuse_private(cls, text);
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* A connection that another transfer was allowed to open is shared without open_socket. */
static int before_request(void *cls, char *ip, char *own_ip, int port, int own_port)
{
    (void)own_ip;
    (void)port;
    (void)own_port;
    if (upstream_address_range(ip) <= ((struct transfer *)cls)->request.reach)
        return CURL_PREREQFUNC_OK;
    refuse_private(cls, ip);
    return CURL_PREREQFUNC_ABORT;
}

/* A proxy resolves names itself: there the name is all that can be looked at. */
static enum address_range range_of_name(const char *host)
{
    size_t n = strlen(host);
    bool is_local =
        strcmp(host, "localhost") == 0 || (n > 10 && strcmp(host + n - 10, ".localhost") == 0);
    return is_local ? ADDRESS_PRIVATE : upstream_address_range(host);
}

/* --- time ------------------------------------------------------------------------------------- */

static void watch(struct timer *timer)
{
    struct transfer *t = (struct transfer *)((char *)timer - offsetof(struct transfer, watch));
    const struct fetcher_options *o = &t->fetcher->options;
    int64_t limit =
        t->has_head ? o->stall_timeout_ms : o->connect_timeout_ms + o->header_timeout_ms;
    int64_t left = t->progress_ms + limit - clock_mono_ms();
    if (left > 0) {
        fetcher_set_timer(t->fetcher, timer, left);
        return;
    }
    struct error why;
    error_set(&why, ERR_TIMEOUT,
              t->has_head ? "%s sent nothing for %lld ms" : "%s did not answer within %lld ms",
              t->shown, (long long)limit);
    metric_add(upstream_errors_total, 1);
    end(t, &why);
}

/* --- life ------------------------------------------------------------------------------------- */

static void add_header(struct transfer *t, const char *name, const char *value)
{
    autofree char *line = alloc_format("%s: %s", name, value);
    t->headers = curl_slist_append(t->headers, line);
}

/* libcurl keeps the parsed authorities for the next connection only if there is no folder of them:
 * that saves 19 ms of this thread for each. The default folder repeats the default file. */
static void set_trust(CURL *c, const struct source_way *way)
{
    const char *file = getenv("SSL_CERT_FILE"), *folder = getenv("SSL_CERT_DIR");
    const char *usual = curl_version_info(CURLVERSION_NOW)->cainfo;
    bool is_usual = !(file && file[0]);
    if (!is_usual)
        curl_easy_setopt(c, CURLOPT_CAINFO, file);
    if (way && way->ca_file) {
        /* the system's authorities stay, by their folder, for what the source redirects to */
        curl_easy_setopt(c, CURLOPT_CAINFO, way->ca_file);
        is_usual = false;
    }
    if (folder && folder[0])
        curl_easy_setopt(c, CURLOPT_CAPATH, folder);
    else if (is_usual && usual && access(usual, R_OK) == 0)
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
}

static void set_way(struct transfer *t)
{
    CURL *c = t->easy;
    const struct source *s = t->request.source;
    if (s && t->request.shows_certificate && s->way.client_certificate) {
        const char *key = s->way.client_key ? s->way.client_key : s->way.client_certificate;
        curl_easy_setopt(c, CURLOPT_SSLCERT, s->way.client_certificate);
        curl_easy_setopt(c, CURLOPT_SSLKEY, key);
    }
    curl_easy_setopt(c, CURLOPT_PROXY, t->proxy ? t->proxy : "");
    curl_easy_setopt(c, CURLOPT_NOPROXY, "");
    if (t->request.reach == ADDRESS_LINK_LOCAL || t->proxy)
        return;
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(c, CURLOPT_PREREQDATA, t);
}

static void set_headers(struct transfer *t)
{
    const struct transfer_request *r = &t->request;
    add_header(t, "Accept-Encoding", "identity");
    if (r->accept)
        add_header(t, "Accept", r->accept);
    if (r->authorization)
        add_header(t, "Authorization", r->authorization);
    if (r->has_range) {
        char text[64];
        if (r->range_last == UINT64_MAX)
            snprintf(text, sizeof text, "bytes=%llu-", (unsigned long long)r->range_first);
        else
            snprintf(text, sizeof text, "bytes=%llu-%llu", (unsigned long long)r->range_first,
                     (unsigned long long)r->range_last);
        add_header(t, "Range", text);
    }
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
}

static void prepare(struct transfer *t)
{
    const struct transfer_request *r = &t->request;
    CURL *c = t->easy;
    curl_easy_setopt(c, CURLOPT_URL, t->url);
    curl_easy_setopt(c, CURLOPT_PRIVATE, t);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, r->plain_http_allowed ? "http,https" : "https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(c, CURLOPT_USERAGENT, t->fetcher->user_agent);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)t->fetcher->options.connect_timeout_ms);
    curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, (long)IDLE_CONNECTION_S);
    curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->curl_error);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_SHARE, t->fetcher->share);
    set_trust(c, r->source ? &r->source->way : NULL);
    if (r->is_head)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    if (r->post_body)
        curl_easy_setopt(c, CURLOPT_COPYPOSTFIELDS, r->post_body);
    set_way(t);
    set_headers(t);
}

/* The host is known from now until its last transfer is gone. */
static struct host *host_of(struct fetcher *f, const struct url_origin *o)
{
    struct host *h;
    autofree char *name = alloc_format("%s://%s:%u", o->scheme, o->host, o->port);
    HASH_FIND_STR(f->hosts, name, h);
    if (h)
        return h;
    h = alloc_zero(sizeof *h);
    h->name = take(name);
    TAILQ_INIT(&h->waiting);
    HASH_ADD_KEYPTR(hh, f->hosts, h->name, strlen(h->name), h);
    return h;
}

static void host_release(struct fetcher *f, struct host *h)
{
    if (h->running > 0 || !TAILQ_EMPTY(&h->waiting))
        return;
    HASH_DEL(f->hosts, h);
    free(h->name);
    free(h);
}

static struct transfer *make(struct fetcher *f, const struct transfer_request *r,
                             const struct url_origin *o)
{
    struct transfer *t = alloc_zero(sizeof *t);
    t->fetcher = f;
    t->host = host_of(f, o);
    t->request = *r;
    t->url = alloc_string(r->url);
    t->shown = slice_dup(slice_sub(slice_of(r->url), 0, strcspn(r->url, "?#")));
    t->proxy = r->source && r->source->way.proxy ? r->source->way.proxy : proxy_for(o);
    t->watch.run = watch;
    t->resume.run = resume;
    t->easy = curl_easy_init();
    if (!t->easy)
        abort();
    head_init(&t->head);
    prepare(t);
    /* The strings were the caller's. */
    t->request.url = t->request.accept = t->request.authorization = t->request.post_body = NULL;
    return t;
}

struct transfer *transfer_start(struct fetcher *f, const struct transfer_request *r,
                                struct error *e)
{
    struct url_origin o;
    if (fetcher_is_stopping(f))
        return error_set(e, ERR_STOPPING, "the mirror is stopping"), NULL;
    if (!upstream_url_origin(r->url, &o))
        return error_set(e, ERR_UPSTREAM, "an address without a host, or with a user, is refused"),
               NULL;
    if (!r->plain_http_allowed && strcmp(o.scheme, "https") != 0)
        return error_set(e, ERR_UPSTREAM, "an address that is not https is refused"), NULL;
    if (range_of_name(o.host) > r->reach)
        return error_set(e, ERR_UPSTREAM, "the private address %s is refused", o.host), NULL;
    struct transfer *t = make(f, r, &o);
    TAILQ_INSERT_TAIL(&t->host->waiting, t, next);
    metric_add(transfers, 1);
    metric_add(transfers_waiting, 1);
    transfer_begin_waiting(f);
    return t;
}

static void begin(struct transfer *t)
{
    struct fetcher *f = t->fetcher;
    TAILQ_REMOVE(&t->host->waiting, t, next);
    TAILQ_INSERT_TAIL(&f->running, t, next);
    t->host->running++;
    f->running_count++;
    t->is_running = true;
    t->began_ms = t->progress_ms = clock_mono_ms();
    metric_add(upstream_requests_total, 1);
    metric_add(transfers_waiting, -1);
    if (t->request.source)
        count_add(&t->request.source->account->requests, 1);
    fetcher_set_timer(f, &t->watch, f->options.connect_timeout_ms + f->options.header_timeout_ms);
    curl_multi_add_handle(f->multi, t->easy);
}

/* The host with the fewest under way comes first: a long queue for one delays no other. */
void transfer_begin_waiting(struct fetcher *f)
{
    while (f->running_count < f->options.max_transfers) {
        struct host *h, *after, *best = NULL;
        HASH_ITER(hh, f->hosts, h, after)
        {
            if (!TAILQ_EMPTY(&h->waiting) && h->running < f->options.max_per_host &&
                (!best || h->running < best->running))
                best = h;
        }
        if (!best)
            return;
        begin(TAILQ_FIRST(&best->waiting));
    }
}

void transfer_cancel(struct transfer *t)
{
    struct fetcher *f = t->fetcher;
    fetcher_clear_timer(f, &t->watch);
    fetcher_clear_timer(f, &t->resume);
    if (t->is_running) {
        curl_multi_remove_handle(f->multi, t->easy);
        TAILQ_REMOVE(&f->running, t, next);
        f->running_count--;
        t->host->running--;
    } else {
        TAILQ_REMOVE(&t->host->waiting, t, next);
        metric_add(transfers_waiting, -1);
    }
    host_release(f, t->host);
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    metric_add(transfers, -1);
    free(t->url);
    free(t->shown);
    free(t);
}

static void end(struct transfer *t, const struct error *why)
{
    struct error kept = why ? *why : (struct error){0};
    struct head head = t->head;
    void (*on_done)(void *, const struct head *, const struct error *) = t->request.on_done;
    void *cls = t->request.cls;
    transfer_cancel(t);
    on_done(cls, &head, why ? &kept : NULL);
}

/* libcurl's words, and the system's where its own are "couldn't connect": refused, no route … */
static void tell(const struct transfer *t, CURLcode code, struct error *why)
{
    long number = 0;
    char reason[128];
    if (code == CURLE_COULDNT_CONNECT)
        curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &number);
    error_set(why, code == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_UPSTREAM, "%s: %s%s%s",
              t->shown, t->curl_error[0] ? t->curl_error : curl_easy_strerror(code),
              number ? ": " : "", number ? strerror_r((int)number, reason, sizeof reason) : "");
}

void transfer_ended(CURL *easy, CURLcode code)
{
    struct transfer *t;
    struct error why;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
    if (code == CURLE_OK) {
        if (t->head.status >= 500 || t->head.status == 429)
            metric_add(upstream_errors_total, 1);
        end(t, NULL);
        return;
    }
    if (!t->request.on_body && t->has_head && t->received > IGNORED_BODY_MAX) {
        end(t, NULL);
        return;
    }
    metric_add(upstream_errors_total, 1);
    if (t->has_failed)
        why = t->error;
    else
        tell(t, code, &why);
    end(t, &why);
}

void transfer_end_all(struct fetcher *f)
{
    struct error why;
    struct transfer *t;
    error_set(&why, ERR_STOPPING, "the mirror is stopping");
    while ((t = TAILQ_FIRST(&f->running)) || (f->hosts && (t = TAILQ_FIRST(&f->hosts->waiting))))
        end(t, &why); /* NOLINT: clang 14 does not see that this takes it out of its queue */
}

bool transfer_is_running(const struct transfer *t)
{
    return t->is_running;
}

uint64_t transfer_received(const struct transfer *t)
{
    return t->received;
}
