/* SPDX-License-Identifier: Apache-2.0
 * The loop: one epoll over the listening sockets, libmicrohttpd's own epoll and a wake-up.
 * Everything of a connection happens on this thread, so nothing of it needs a lock; other threads
 * only wake it or resume a connection. */
#include "serve/worker.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "cache/index.h"
#include "serve/access.h"
#include "serve/connection.h"
#include "serve/door.h"
#include "serve/reply.h"
#include "serve/request.h"
#include "serve/server.h"
#include "serve/tally.h"
#include "serve/tls.h"

enum {
    TICK_MS = 1000,
    GIVE_BACK_MS =
        100, /* so long an idle connection keeps its buffer: who asks again soon needs it */
    GIVEN_A_ROUND = 64,
    ACCEPTS_A_ROUND = 64,
    CROWDED_TICKS = 2, /* so that the other workers have seen it too */
    EVENTS = 16,
    POOL_OVERHEAD =
        16 << 10, /* beside a request's headers: their table, and the answer's headers */
};

struct worker {
    struct hall *hall;
    struct desk desk;
    struct MHD_Daemon *daemon;
    pthread_t thread;
    int epoll, wake;
    int *sockets;
    size_t socket_count;
    size_t buffer_bytes;         /* of a connection */
    struct connection *arriving; /* while libmicrohttpd takes it over */
    TAILQ_HEAD(, connection) connections;
    TAILQ_HEAD(, connection) used;    /* idle ones that keep a buffer, the longest idle first */
    TAILQ_HEAD(, connection) waiting; /* before the door */
    struct door *door; /* the one in force, as far as this thread has seen; NULL: the local one */
    unsigned door_version;
    uint64_t next_id;
    int64_t next_tick_ms;
    unsigned crowded_ticks;
    bool is_deaf; /* out of descriptors: accepts nothing until the next tick */
    struct access_memory *memory;
    bool is_quiet, is_over; /* atomic: asked to quiesce, to end */
    struct mutex mutex;     /* guards has_closed */
    pthread_cond_t closed;
    bool has_closed;
};

/* --- the door --------------------------------------------------------------------------------- */

void hall_put_door(struct hall *h, struct door *new)
{
    struct door *old;
    {
        MUTEX_HOLD(&h->mutex);
        old = h->door;
        h->door = new;
        __atomic_add_fetch(&h->door_version, 1, __ATOMIC_RELEASE);
    }
    door_unref(old);
}

/* The lock is taken only where the door has changed. */
static void see_door(struct worker *w)
{
    struct hall *h = w->hall;
    struct door *old = w->door;
    if (w->door_version == __atomic_load_n(&h->door_version, __ATOMIC_ACQUIRE))
        return;
    {
        MUTEX_HOLD(&h->mutex);
        w->door = door_ref(h->door);
        w->door_version = h->door_version;
    }
    if (old && !access_is_same(old->access, w->door->access))
        access_memory_forget(w->memory);
    door_unref(old);
}

static bool has_certificate(struct worker *w, struct MHD_Connection *c, struct connection *conn)
{
    if (!access_wants_certificate(w->door->access))
        return false;
    if (conn->certificate_version != w->door_version) {
        conn->certificate_version = w->door_version;
        conn->has_certificate = tls_has_client_certificate(w->door->tls, conn->door->tls, c);
    }
    return conn->has_certificate;
}

static void wait_for_turn(struct worker *w, struct MHD_Connection *c, struct connection *conn,
                          int64_t at_ms)
{
    conn->waiting = c;
    conn->turn_at_ms = at_ms;
    TAILQ_INSERT_TAIL(&w->waiting, conn, next_waiting);
    metric_add(logins_delayed_total, 1);
    MHD_suspend_connection(c);
}

static bool is_stopping(const struct worker *w)
{
    return __atomic_load_n(w->desk.is_stopping, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&w->is_over, __ATOMIC_ACQUIRE);
}

/* Whose turn it is goes on in the next round; all of them, if the mirror is stopping. */
static void call_waiting(struct worker *w, int64_t now_ms)
{
    struct connection *conn, *next;
    bool is_everybody = is_stopping(w);
    for (conn = TAILQ_FIRST(&w->waiting); conn; conn = next) {
        next = TAILQ_NEXT(conn, next_waiting);
        if (conn->turn_at_ms > now_ms && !is_everybody)
            continue;
        TAILQ_REMOVE(&w->waiting, conn, next_waiting);
        desk_resume(&w->desk, conn->waiting);
        conn->waiting = NULL;
    }
}

/* --- connections ------------------------------------------------------------------------------ */

static void watch(struct worker *w, int fd, bool is_on)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(w->epoll, is_on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &event);
}

static void set_deaf(struct worker *w, bool is_deaf)
{
    if (w->is_deaf == is_deaf)
        return;
    w->is_deaf = is_deaf;
    for (size_t i = 0; i < w->socket_count; i++)
        watch(w, w->sockets[i], !is_deaf);
}

static void forget(struct worker *w, struct connection *c)
{
    TAILQ_REMOVE(&w->connections, c, next);
    door_unref(c->door);
    free(c);
    metric_add(connections, -1);
    __atomic_sub_fetch(&w->hall->connections, 1, __ATOMIC_RELAXED);
}

static void arrive(struct worker *w, int fd, const struct sockaddr *at, socklen_t length)
{
    const struct server_options *o = w->hall->options;
    if (__atomic_add_fetch(&w->hall->connections, 1, __ATOMIC_RELAXED) > o->max_connections) {
        __atomic_sub_fetch(&w->hall->connections, 1, __ATOMIC_RELAXED);
        metric_add(connections_dropped_total, 1);
        __atomic_store_n(&w->hall->is_crowded, true, __ATOMIC_RELAXED);
        close(fd);
        return;
    }
    struct connection *c = w->arriving = alloc_zero(sizeof *c);
    int64_t now_ms = clock_mono_ms();
    connection_init(c, fd, now_ms, now_ms + o->request_timeout_ms);
    see_door(w);
    c->door = w->door ? door_ref(w->door) : NULL;
    TAILQ_INSERT_TAIL(&w->connections, c, next);
    metric_add(connections_total, 1);
    metric_add(connections, 1);
    connection_fit(fd, at);
    MHD_add_connection(w->daemon, fd, at, length);
    if (!w->arriving)
        return;
    w->arriving = NULL; /* not taken, and closed */
    forget(w, c);
}

static void accept_some(struct worker *w, int listener)
{
    for (int i = 0; i < ACCEPTS_A_ROUND; i++) {
        struct sockaddr_storage at;
        socklen_t length = sizeof at;
        int fd = accept4(listener, (struct sockaddr *)&at, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            arrive(w, fd, (const struct sockaddr *)&at, length);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_event(LOG_LEVEL_WARNING, "connections have to wait",
                      LOG_S("error", strerror(errno)), LOG_END);
            __atomic_store_n(&w->hall->is_crowded, true, __ATOMIC_RELAXED);
            set_deaf(w, true);
            return;
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void set_used(struct worker *w, struct connection *c, bool is_used)
{
    if (c->is_used == is_used)
        return;
    c->is_used = is_used;
    if (is_used)
        TAILQ_INSERT_TAIL(&w->used, c, next_used);
    else
        TAILQ_REMOVE(&w->used, c, next_used);
}

static int64_t give_back_in_ms(const struct worker *w, int64_t now_ms)
{
    const struct connection *c = TAILQ_FIRST(&w->used);
    return c ? c->idle_since_ms + GIVE_BACK_MS - now_ms : INT64_MAX;
}

static void give_back(struct worker *w, int64_t now_ms)
{
    for (int i = 0; i < GIVEN_A_ROUND && give_back_in_ms(w, now_ms) <= 0; i++) {
        struct connection *c = TAILQ_FIRST(&w->used);
        set_used(w, c, false);
        connection_give_back(c, w->buffer_bytes);
    }
}

static void notify(void *cls, struct MHD_Connection *c, void **context,
                   enum MHD_ConnectionNotificationCode code)
{
    struct worker *w = cls;
    struct connection *conn = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = conn = w->arriving;
        w->arriving = NULL;
        if (conn->door && conn->door->tls)
            tls_begin(conn->door->tls, c);
        return;
    }
    set_used(w, conn, false);
    *context = NULL;
    forget(w, conn); /* its session has ended before this, so nothing looks at its door any more */
}

/* Who is late is shut; and where others wait for room, who is idle, which every client takes for
 * the end of keep-alive. */
static void tick(struct worker *w, int64_t now_ms)
{
    struct connection *c;
    bool is_crowded = __atomic_load_n(&w->hall->is_crowded, __ATOMIC_RELAXED);
    w->next_tick_ms = now_ms + TICK_MS;
    TAILQ_FOREACH(c, &w->connections, next)
    {
        if (!connection_is_late(c, now_ms) && !(is_crowded && connection_is_idle(c, now_ms)))
            connection_settle(c, now_ms);
        else if (connection_shut(c))
            metric_add(connections_dropped_total, 1);
    }
    if (is_crowded && ++w->crowded_ticks >= CROWDED_TICKS) {
        w->crowded_ticks = 0;
        __atomic_store_n(&w->hall->is_crowded, false, __ATOMIC_RELAXED);
    }
    set_deaf(w, false);
    see_door(w);
}

/* --- requests --------------------------------------------------------------------------------- */

static struct connection *connection_of(struct MHD_Connection *c)
{
    return MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* What probes ask; it says nothing but that there is a process. */
static bool is_open_to_all(const char *path)
{
    return strcmp(path, "/healthz") == 0;
}

/* May this request come in, whatever it asks? 0; 1: its turn is at *at_ms; -1: no, and why. */
static int let_in(struct worker *w, struct request *r, struct connection *conn, const char *path,
                  int64_t *at_ms, struct error *e)
{
    struct MHD_Connection *c = r->connection;
    int64_t now_ms = clock_mono_ms();
    if (w->hall->is_local)
        return 0;
    if (!r->has_waited && connection_is_over_rate(conn, w->hall->options->max_request_rate, now_ms))
        return error_set(e, ERR_BUSY, "too many requests on this connection");
    if (is_open_to_all(path))
        return 0;
    see_door(w);
    struct visitor v = {
        .address = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr,
        .has_certificate = has_certificate(w, c, conn),
        .authorization = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization"),
        .came_ms = r->began_us / 1000,
        .has_waited = r->has_waited};
    bool is_last_call = is_stopping(w); /* nobody waits any more */
    int verdict = is_last_call && r->has_waited
                      ? 1
                      : access_check(w->door->access, w->memory, &v, now_ms, at_ms, e);
    return verdict == 1 && is_last_call ? error_set(e, ERR_STOPPING, "the mirror is stopping")
                                        : verdict;
}

static enum MHD_Result knock(struct worker *w, struct request *r, const char *url)
{
    struct connection *conn = connection_of(r->connection);
    struct error e = {0};
    int64_t at_ms = 0;
    int verdict = let_in(w, r, conn, url, &at_ms, &e);
    if (verdict < 0)
        return reply_error(r, &e);
    if (verdict > 0) {
        r->has_waited = true;
        wait_for_turn(w, r->connection, conn, at_ms);
        return MHD_YES;
    }
    r->is_let_in = true;
    return request_answer(r, url);
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **state)
{
    struct worker *w = cls;
    struct request *r = *state;
    (void)version;
    if (r && *upload_bytes > 0) {
        request_take_body(r, upload, *upload_bytes);
        *upload_bytes = 0;
        return MHD_YES;
    }
    if (r)
        return r->is_let_in ? request_answer(r, url) : knock(w, r, url);
    struct connection *conn = connection_of(c);
    set_used(w, conn, false);
    connection_begin_request(conn, method, url);
    *state = r = request_new(c, &w->desk, w->next_id++, method, url);
    return request_admit(r);
}

static void completed(void *cls, struct MHD_Connection *c, void **state,
                      enum MHD_RequestTerminationCode code)
{
    struct worker *w = cls;
    if (!*state)
        return;
    struct connection *conn = connection_of(c);
    int64_t now_ms = clock_mono_ms();
    connection_end_request(conn, now_ms, now_ms + w->hall->options->request_timeout_ms);
    set_used(w, conn, true);
    request_end(*state, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    *state = NULL;
}

/* Raw, so that an encoded slash is seen for what it is; decoded once, by us. */
static size_t leave_encoded(void *cls, struct MHD_Connection *c, char *text)
{
    (void)cls, (void)c;
    return strlen(text);
}

/* --- the loop --------------------------------------------------------------------------------- */

static void close_sockets(struct worker *w)
{
    for (size_t i = 0; i < w->socket_count; i++)
        close(w->sockets[i]);
    w->socket_count = 0;
    w->is_deaf = false;
}

static void quiesce(struct worker *w)
{
    close_sockets(w);
    call_waiting(w, clock_mono_ms());
    MUTEX_HOLD(&w->mutex);
    w->has_closed = true;
    pthread_cond_broadcast(&w->closed);
}

static int patience_ms(struct worker *w, int64_t now_ms)
{
    MHD_UNSIGNED_LONG_LONG ms;
    int64_t left = w->next_tick_ms - now_ms, give_back_ms = give_back_in_ms(w, now_ms);
    const struct connection *conn;
    left = left < give_back_ms ? left : give_back_ms;
    TAILQ_FOREACH(conn, &w->waiting, next_waiting)
    if (conn->turn_at_ms - now_ms < left)
        left = conn->turn_at_ms - now_ms;
    left = left > 0 ? left : 0;
    if (MHD_get_timeout(w->daemon, &ms) == MHD_YES && (int64_t)ms < left)
        left = (int64_t)ms;
    return (int)left;
}

static void *run(void *cls)
{
    struct worker *w = cls;
    bool is_quiet = false;
    w->next_tick_ms = clock_mono_ms() + TICK_MS;
    while (!__atomic_load_n(&w->is_over, __ATOMIC_ACQUIRE)) {
        struct epoll_event events[EVENTS];
        int64_t now_ms = clock_mono_ms();
        int count = epoll_wait(w->epoll, events, EVENTS, patience_ms(w, now_ms));
        for (int i = 0; i < count; i++) {
            uint64_t ignored;
            if (events[i].data.fd == w->wake)
                (void)!read(w->wake, &ignored, sizeof ignored);
            else if (events[i].data.fd >= 0)
                accept_some(w, events[i].data.fd);
        }
        call_waiting(w, clock_mono_ms());
        MHD_run(w->daemon);
        if (!is_quiet && __atomic_load_n(&w->is_quiet, __ATOMIC_ACQUIRE)) {
            is_quiet = true;
            quiesce(w);
        }
        now_ms = clock_mono_ms();
        give_back(w, now_ms);
        if (now_ms >= w->next_tick_ms)
            tick(w, now_ms);
    }
    call_waiting(w, clock_mono_ms());
    MHD_stop_daemon(w->daemon);
    return NULL;
}

static void mhd_log(void *cls, const char *format, va_list arguments)
{
    char text[512];
    (void)cls;
    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = 0;
    log_event(LOG_LEVEL_DEBUG, "libmicrohttpd", LOG_S("text", text), LOG_END);
}

static int start_daemon(struct worker *w, struct error *e)
{
    const struct server_options *o = w->hall->options;
    unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME;
    if (!w->hall->is_local)
        flags |= MHD_USE_ERROR_LOG; /* of a Unix socket it only tells that it is no TCP */
    const struct MHD_OptionItem none = {MHD_OPTION_END, 0, NULL};
    struct MHD_OptionItem https[2] = {none, none};
    if (w->desk.is_https) {
        flags |= MHD_USE_TLS;
        tls_get_option(&https[0]);
    }
    w->buffer_bytes = o->max_header_bytes + POOL_OVERHEAD;
    w->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, handle, w, MHD_OPTION_EXTERNAL_LOGGER, mhd_log, NULL,
        MHD_OPTION_ARRAY, https, MHD_OPTION_CONNECTION_LIMIT, o->max_connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, w->buffer_bytes, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)((o->send_timeout_ms + 999) / 1000), MHD_OPTION_NOTIFY_COMPLETED, completed, w,
        MHD_OPTION_NOTIFY_CONNECTION, notify, w, MHD_OPTION_UNESCAPE_CALLBACK, leave_encoded, NULL,
        MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        w->daemon ? MHD_get_daemon_info(w->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info)
        return error_set(e, ERR_INTERNAL, "the HTTP daemon did not start");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = -1};
    if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, info->epoll_fd, &event) < 0)
        return error_errno(e, "watch the HTTP daemon");
    return 0;
}

static void release(struct worker *w)
{
    mutex_fini(&w->mutex);
    pthread_cond_destroy(&w->closed);
    if (w->epoll >= 0)
        close(w->epoll);
    if (w->wake >= 0)
        close(w->wake);
    door_unref(w->door);
    access_memory_free(w->memory);
    free(w->sockets);
    free(w);
}

static int begin(struct worker *w, struct error *e)
{
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->desk.wake = w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->epoll < 0 || w->wake < 0)
        return error_errno(e, "start a thread that answers requests");
    if (start_daemon(w, e) < 0)
        return -1;
    watch(w, w->wake, true);
    for (size_t i = 0; i < w->socket_count; i++)
        watch(w, w->sockets[i], true);
    return thread_start(&w->thread, "http", run, w, e);
}

struct worker *worker_start(struct hall *h, const struct desk *d, const int *sockets, size_t count,
                            struct error *e)
{
    struct worker *w = alloc_zero(sizeof *w);
    w->hall = h;
    w->desk = *d;
    w->memory = access_memory_new();
    w->epoll = w->wake = -1;
    w->sockets = alloc_array(count, sizeof *sockets);
    memcpy(w->sockets, sockets, count * sizeof *sockets);
    w->socket_count = count;
    TAILQ_INIT(&w->connections);
    TAILQ_INIT(&w->used);
    TAILQ_INIT(&w->waiting);
    see_door(w);
    mutex_init(&w->mutex, RANK_CONNECTIONS);
    cond_init(&w->closed);
    if (getrandom(&w->next_id, sizeof w->next_id, 0) < 0)
        w->next_id = (uint64_t)clock_mono_us();
    if (begin(w, e) == 0)
        return w;
    if (w->daemon)
        MHD_stop_daemon(w->daemon);
    release(w);
    return NULL;
}

static void wake(struct worker *w)
{
    const uint64_t one = 1;
    (void)!write(w->wake, &one, sizeof one);
}

void worker_quiesce(struct worker *w)
{
    __atomic_store_n(&w->is_quiet, true, __ATOMIC_RELEASE);
    wake(w);
    MUTEX_HOLD(&w->mutex);
    while (!w->has_closed)
        mutex_wait(&w->mutex, &w->closed, -1);
}

unsigned worker_busy(const struct worker *w)
{
    return tally_busy(w->desk.tally);
}

void worker_stop(struct worker *w)
{
    __atomic_store_n(&w->is_over, true, __ATOMIC_RELEASE);
    wake(w);
    pthread_join(w->thread, NULL);
    close_sockets(w);
    index_reader_close(w->desk.reader);
    release(w);
}
