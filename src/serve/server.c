/* SPDX-License-Identifier: Apache-2.0
 * One daemon and one SO_REUSEPORT socket a thread, so that the kernel spreads the connections.
 * Every connection is on one list with the time by which it must bring its next whole request; the
 * tick shuts down who is late, so a slow sender costs one descriptor for a while and nobody notices
 * it. */
#include "serve/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "cache/index.h"
#include "serve/reply.h"
#include "serve/request.h"
#include "upstream/upstream.h"

enum {
    BACKLOG = 1024,
    POOL_OVERHEAD =
        32 << 10, /* beside a request's headers: their table, and the answer's headers */
    MAX_SOCKETS = 64,
};

struct connection {
    TAILQ_ENTRY(connection) next;
    struct server *server;
    int fd;
    bool has_used_memory; /* brought a request: its buffer is resident from then on */
    bool is_shut;
    int64_t due_ms; /* atomic; 0: a request is under way */
    int64_t rate_second;
    unsigned rate_count;
};

struct worker {
    struct server *server;
    struct MHD_Daemon *daemon;
    int listen_fd;
    struct desk desk;
};

struct server {
    struct server_options options;
    bool is_stopping; /* atomic */
    unsigned busy;    /* atomic */
    uint64_t next_id; /* atomic */
    struct worker workers[MAX_SOCKETS];
    size_t worker_count;
    char *addresses[MAX_SOCKETS + 1];
    size_t address_count;
    struct mutex mutex; /* guards all below */
    TAILQ_HEAD(, connection) connections;
    unsigned count;
};

/* --- requests
 * -----------------------------------------------------------------------------------------------------
 */

static struct request *request_begin(struct worker *w, struct MHD_Connection *c, const char *method,
                                     const char *target)
{
    struct request *r = alloc_zero(sizeof *r);
    uint64_t id = __atomic_fetch_add(&w->server->next_id, 1, __ATOMIC_RELAXED);
    r->connection = c;
    r->desk = &w->desk;
    r->began_us = clock_mono_us();
    r->is_head = strcmp(method, "HEAD") == 0;
    r->target = slice_dup(slice_sub(slice_of(target), 0, 1024));
    snprintf(r->id, sizeof r->id, "%016llx", (unsigned long long)id);
    slice_copy(slice_sub(slice_of(method), 0, sizeof r->method - 1), r->method, sizeof r->method);
    return r;
}

static bool is_over_rate(struct connection *c)
{
    if (!c || c->server->options.max_request_rate == 0)
        return false;
    int64_t second = clock_mono_ms() / 1000;
    if (c->rate_second != second) {
        c->rate_second = second;
        c->rate_count = 0;
    }
    return ++c->rate_count > c->server->options.max_request_rate;
}

static struct connection *connection_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static enum MHD_Result refuse(struct request *r, enum error_kind kind, const char *text)
{
    struct error e;
    error_set(&e, kind, "%s", text);
    return reply_error(r, &e);
}

static enum MHD_Result count_framing(void *cls, enum MHD_ValueKind kind, const char *name,
                                     const char *value)
{
    unsigned *count = cls;
    (void)kind, (void)value;
    *count += strcasecmp(name, "Content-Length") == 0 || strcasecmp(name, "Transfer-Encoding") == 0;
    return MHD_YES;
}

/* Two statements of where a body ends: what follows could be read as another request (RFC 9112
 * §6.3). */
static bool is_ambiguous(struct MHD_Connection *c)
{
    unsigned count = 0;
    MHD_get_connection_values(c, MHD_HEADER_KIND, count_framing, &count);
    return count > 1;
}

static enum MHD_Result dispatch(struct request *r)
{
    switch (r->route.kind) {
    case ROUTE_MANIFEST:
    case ROUTE_BLOB:
    case ROUTE_TAGS:
    case ROUTE_REFERRERS:
        return v2_handle(r);
    case ROUTE_CATALOG:
    case ROUTE_V1_SEARCH:
        return lists_handle(r);
    case ROUTE_UPLOAD:
        return refuse(r, ERR_UNSUPPORTED, "this is a mirror: it takes no uploads");
    default:
        return admin_handle(r);
    }
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **state)
{
    struct worker *w = cls;
    struct request *r = *state;
    (void)version, (void)upload;
    if (!r) {
        struct connection *conn = connection_of(c);
        r = *state = request_begin(w, c, method, url);
        __atomic_add_fetch(&w->server->busy, 1, __ATOMIC_RELAXED);
        metric_add(requests_total, 1);
        if (conn) {
            __atomic_store_n(&conn->due_ms, 0, __ATOMIC_RELAXED);
            conn->has_used_memory = true;
        }
        if (is_ambiguous(c))
            return refuse(r, ERR_USAGE, "the request states the length of its body twice");
        if (!r->is_head && strcmp(method, "GET") != 0)
            return refuse(r, ERR_UNSUPPORTED, "this is a mirror: it answers GET and HEAD only");
        if (is_over_rate(conn))
            return refuse(r, ERR_BUSY, "too many requests on this connection");
        return MHD_YES;
    }
    if (*upload_bytes > 0) {
        *upload_bytes = 0; /* a body on a GET means nothing */
        return MHD_YES;
    }
    if (r->has_begun)
        return dispatch(r); /* woken up */
    r->has_begun = true;
    struct error e;
    if (route_parse(slice_of(url), &r->route, &e) < 0)
        return reply_error(r, &e);
    return dispatch(r);
}

static void completed(void *cls, struct MHD_Connection *c, void **state,
                      enum MHD_RequestTerminationCode code)
{
    struct worker *w = cls;
    struct request *r = *state;
    struct connection *conn = connection_of(c);
    if (!r)
        return;
    *state = NULL;
    if (conn)
        __atomic_store_n(&conn->due_ms, clock_mono_ms() + w->server->options.request_timeout_ms,
                         __ATOMIC_RELAXED);
    __atomic_sub_fetch(&w->server->busy, 1, __ATOMIC_RELAXED);
    bool is_whole = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (r->status >= 400)
        metric_add(request_errors_total, 1);
    if (is_whole)
        metric_add(served_bytes_total, (int64_t)r->body_bytes);
    const char *reference = r->route.tag[0] ? r->route.tag : NULL;
    char digest[DIGEST_TEXT_MAX];
    if (!reference && r->route.digest.algorithm)
        reference = digest_print(&r->route.digest, digest);
    log_event(
        LOG_LEVEL_INFO, "request", LOG_S("id", r->id), LOG_S("method", r->method),
        LOG_S("path", r->target), LOG_S("kind", route_kind_name(r->route.kind)),
        LOG_S("registry", r->upstream ? r->upstream->registry : NULL),
        LOG_S("image", r->repository[0] ? r->repository : NULL), LOG_S("reference", reference),
        LOG_I("status", r->status), LOG_S("cache", r->cache), LOG_I("bytes", r->body_bytes),
        LOG_I("ms", (clock_mono_us() - r->began_us) / 1000),
        LOG_S("upstream", r->upstream && (r->error[0] || (r->cache && strcmp(r->cache, "hit") != 0))
                              ? upstream_origin(r->upstream)->url
                              : NULL),
        LOG_S("error", r->error[0] ? r->error : NULL), LOG_S("end", is_whole ? NULL : "cut"),
        LOG_END);
    if (r->answer)
        answer_unref(r->answer);
    free(r->target);
    free(r);
}

/* Raw, so that an encoded slash is seen for what it is; decoded once, by us. */
static size_t leave_encoded(void *cls, struct MHD_Connection *c, char *text)
{
    (void)cls, (void)c;
    return strlen(text);
}

/* --- connections
 * --------------------------------------------------------------------------------------------------
 */

static void notify(void *cls, struct MHD_Connection *c, void **context,
                   enum MHD_ConnectionNotificationCode code)
{
    struct server *s = ((struct worker *)cls)->server;
    struct connection *conn = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        conn = *context = alloc_zero(sizeof *conn);
        conn->server = s;
        conn->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        conn->due_ms = clock_mono_ms() + s->options.request_timeout_ms;
        MUTEX_HOLD(&s->mutex);
        TAILQ_INSERT_TAIL(&s->connections, conn, next);
        s->count++;
        metric_add(connections_total, 1);
        metric_add(connections, 1);
        return;
    }
    if (!conn)
        return;
    {
        MUTEX_HOLD(&s->mutex);
        TAILQ_REMOVE(&s->connections, conn, next);
        s->count--;
    }
    metric_add(connections, -1);
    free(conn);
    *context = NULL;
}

/* shutdown, not close: the descriptor stays libmicrohttpd's, which sees the end and cleans up. */
static void drop(struct connection *c)
{
    if (c->is_shut)
        return;
    c->is_shut = true;
    shutdown(c->fd, SHUT_RDWR);
    metric_add(connections_dropped_total, 1);
}

static int by_due(const void *a, const void *b)
{
    int64_t x = (*(struct connection *const *)a)->due_ms,
            y = (*(struct connection *const *)b)->due_ms;
    return (x > y) - (x < y);
}

void server_tick(struct server *s)
{
    int64_t now = clock_mono_ms();
    size_t pool = s->options.max_header_bytes + POOL_OVERHEAD;
    size_t may_idle = s->options.idle_memory_bytes / pool, idle = 0;
    MUTEX_HOLD(&s->mutex);
    autofree struct connection **all = alloc_array(s->count + 1, sizeof(struct connection *));
    struct connection *c;
    TAILQ_FOREACH(c, &s->connections, next)
    {
        int64_t due = __atomic_load_n(&c->due_ms, __ATOMIC_RELAXED);
        if (due == 0)
            continue;
        if (due < now)
            drop(c);
        else if (c->has_used_memory && !c->is_shut &&
                 due + 1000 < now + s->options.request_timeout_ms)
            all[idle++] = c; /* idle for more than a second */
    }
    if (idle <= may_idle)
        return;
    qsort(all, idle, sizeof *all, by_due);
    for (size_t i = 0; i < idle - may_idle; i++)
        drop(all[i]);
}

/* --- start and stop
 * -----------------------------------------------------------------------------------------------
 */

static int bind_socket(const struct addrinfo *a, const char *text, struct error *e)
{
    int one = 1;
    autoclose int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(e, "listen on %s", text);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0 ||
        bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        return error_errno(e, "listen on %s", text);
    return take_fd(fd);
}

/* SO_REUSEPORT would let a second server share a port in silence: a plain bind first finds the port
 * taken. */
static int check_free(const struct addrinfo *a, const char *text, struct error *e)
{
    int one = 1;
    autoclose int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 1) < 0)
        return error_errno(e, "listen on %s", text);
    return 0;
}

static int resolve_address(const char *text, struct addrinfo **out, struct error *e)
{
    char host[256] = "", port[16];
    struct slice head, tail;
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    if (!slice_cut_last(slice_of(text), ':', &head, &tail) ||
        !slice_copy(tail, port, sizeof port) || port[0] == 0)
        return error_set(e, ERR_USAGE, "listen address \"%s\" is not ADDRESS:PORT", text);
    uint64_t number;
    if (!slice_u64(tail, 65535, &number))
        return error_set(e, ERR_USAGE, "listen address \"%s\": the port is a number up to 65535",
                         text);
    if (slice_starts(head, "[") && slice_ends(head, "]"))
        head = slice_sub(head, 1, head.length - 2);
    if (!slice_copy(head, host, sizeof host))
        return error_set(e, ERR_USAGE, "listen address \"%s\" is too long", text);
    int failed = getaddrinfo(host[0] ? host : NULL, port, &hints, out);
    if (failed)
        return error_set(e, ERR_USAGE, "listen address \"%s\": %s", text, gai_strerror(failed));
    return 0;
}

static char *bound_address(int fd)
{
    struct sockaddr_storage at;
    socklen_t length = sizeof at;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(fd, (struct sockaddr *)&at, &length) < 0 ||
        getnameinfo((struct sockaddr *)&at, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return alloc_string("?");
    return at.ss_family == AF_INET6 ? alloc_format("[%s]:%s", host, port)
                                    : alloc_format("%s:%s", host, port);
}

static int open_sockets(struct server *s, const char *text, struct error *e)
{
    struct addrinfo *a;
    if (resolve_address(text, &a, e) < 0)
        return -1;
    int result = check_free(a, text, e);
    for (unsigned i = 0; result == 0 && i < s->options.threads && s->worker_count < MAX_SOCKETS;
         i++) {
        int fd = bind_socket(a, text, e);
        if (fd < 0) {
            result = -1;
            break;
        }
        if (i == 0) { /* a port that the kernel chose is shared by the others */
            socklen_t length = a->ai_addrlen;
            getsockname(fd, a->ai_addr, &length);
            s->addresses[s->address_count++] = bound_address(fd);
        }
        s->workers[s->worker_count++] = (struct worker){.server = s, .listen_fd = fd};
    }
    freeaddrinfo(a);
    return result;
}

static void mhd_log(void *cls, const char *format, va_list arguments)
{
    char text[512];
    (void)cls;
    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = 0;
    log_event(LOG_LEVEL_DEBUG, "libmicrohttpd", LOG_S("text", text), LOG_END);
}

static int start_worker(struct server *s, struct worker *w, struct error *e)
{
    const struct server_options *o = &s->options;
    unsigned per_worker = o->max_connections / (unsigned)s->worker_count + 1;
    w->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        handle, w, MHD_OPTION_EXTERNAL_LOGGER, mhd_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        w->listen_fd, MHD_OPTION_CONNECTION_LIMIT, per_worker, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        o->max_header_bytes + POOL_OVERHEAD, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)((o->send_timeout_ms + 999) / 1000), MHD_OPTION_NOTIFY_COMPLETED, completed, w,
        MHD_OPTION_NOTIFY_CONNECTION, notify, w, MHD_OPTION_UNESCAPE_CALLBACK, leave_encoded, NULL,
        MHD_OPTION_END);
    if (!w->daemon)
        return error_set(e, ERR_INTERNAL, "the HTTP daemon did not start");
    return 0;
}

struct server *server_start(const struct server_options *o, struct mirror *m, struct upstreams *u,
                            struct index *x, struct error *e)
{
    struct server *s = alloc_zero(sizeof *s);
    s->options = *o;
    mutex_init(&s->mutex, RANK_CONNECTIONS);
    TAILQ_INIT(&s->connections);
    if (getrandom(&s->next_id, sizeof s->next_id, 0) < 0)
        s->next_id = (uint64_t)clock_mono_us();
    int failed = 0;
    for (size_t i = 0; o->listen[i] && !failed; i++)
        failed = open_sockets(s, o->listen[i], e);
    for (size_t i = 0; i < s->worker_count && !failed; i++) {
        struct worker *w = &s->workers[i];
        w->desk = (struct desk){.mirror = m, .upstreams = u, .is_stopping = &s->is_stopping};
        w->desk.reader = index_reader_open(x, e);
        failed = !w->desk.reader || start_worker(s, w, e) < 0;
    }
    if (!failed)
        return s;
    server_stop(s);
    return NULL;
}

const char *server_address(const struct server *s, size_t i)
{
    return i < s->address_count ? s->addresses[i] : NULL;
}

unsigned server_busy(struct server *s)
{
    return __atomic_load_n(&s->busy, __ATOMIC_RELAXED);
}

void server_quiesce(struct server *s)
{
    __atomic_store_n(&s->is_stopping, true, __ATOMIC_RELEASE);
    for (size_t i = 0; i < s->worker_count; i++) {
        struct worker *w = &s->workers[i];
        if (w->daemon && w->listen_fd >= 0) {
            int fd = MHD_quiesce_daemon(w->daemon);
            if (fd >= 0)
                close(fd);
            w->listen_fd = -1;
        }
    }
}

void server_stop(struct server *s)
{
    for (size_t i = 0; i < s->worker_count; i++) {
        struct worker *w = &s->workers[i];
        if (w->daemon)
            MHD_stop_daemon(w->daemon);
        else if (w->listen_fd >= 0)
            close(w->listen_fd);
        if (w->desk.reader)
            index_reader_close(w->desk.reader);
    }
    for (size_t i = 0; i < s->address_count; i++)
        free(s->addresses[i]);
    mutex_fini(&s->mutex);
    free(s);
}
