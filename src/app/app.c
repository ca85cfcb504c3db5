/* SPDX-License-Identifier: Apache-2.0
 * The order of stopping is the order of dependence: no new connections, answers under way get their
 * time, the mirror refuses, the fetcher fails what is in flight (which ends every wait), the
 * daemons stop, the ledger drains, the index and the store close. libmicrohttpd aborts if it is
 * stopped with a connection suspended, hence fetcher before server. */
#include "app/app.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/config.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "cache/index.h"
#include "cache/ledger.h"
#include "cache/store.h"
#include "fetch/fetcher.h"
#include "mirror/mirror.h"
#include "serve/server.h"
#include "upstream/upstream.h"

enum { INGEST_MAX_AGE_S = 7 * 24 * 3600, RETRY_MS = 5000 };

struct app {
    const struct config *config;
    struct upstreams *upstreams;
    struct store *store;
    struct index *index;
    struct ledger *ledger;
    struct fetcher *fetcher;
    struct mirror *mirror;
    struct server *server;
    int signals;
};

static int configure_log(const struct config *c, struct error *e)
{
    enum log_level level;
    enum log_format format;
    if (!log_level_parse(c->log_level, &level))
        return error_set(e, ERR_USAGE,
                         "--log-level: \"%s\" is none of debug, info, warning, error, off",
                         c->log_level);
    if (!log_format_parse(c->log_format, &format))
        return error_set(e, ERR_USAGE, "--log-format: \"%s\" is neither text nor json",
                         c->log_format);
    log_configure(level, format);
    return 0;
}

static int add_upstreams(struct app *a, struct error *e)
{
    const struct config *c = a->config;
    autofree char *password = NULL;
    size_t length = 0;
    a->upstreams = upstreams_new();
    if (c->password_file[0]) {
        int found = file_read(AT_FDCWD, c->password_file, 64 << 10, &password, &length, e);
        if (found == 0)
            return error_set(e, ERR_USAGE, "--password-file: there is no %s", c->password_file);
        if (found < 0)
            return -1;
        password[strcspn(password, "\r\n")] = 0;
    }
    const struct upstream_options o = {.registry = "docker.io",
                                       .origin = c->upstream,
                                       .mirrors = c->mirror,
                                       .username = c->username[0] ? c->username : NULL,
                                       .password = password,
                                       .tag_ttl_ms = -1};
    return upstreams_add(a->upstreams, &o, e);
}

static int open_cache(struct app *a, struct error *e)
{
    bool rebuilt = false;
    unsigned kept = 0, dropped = 0;
    a->store = store_open(a->config->data, e);
    if (!a->store)
        return -1;
    if (store_sweep_ingest(a->store, INGEST_MAX_AGE_S, &kept, &dropped, e) < 0)
        return -1;
    a->index = index_open(a->store, &rebuilt, e);
    if (!a->index)
        return -1;
    if (rebuilt)
        log_event(LOG_LEVEL_WARNING, "the index was broken and has been rebuilt from the files",
                  LOG_S("data", a->config->data), LOG_END);
    if (kept + dropped > 0)
        log_event(LOG_LEVEL_INFO, "content on its way in taken up", LOG_I("kept", kept),
                  LOG_I("dropped", dropped), LOG_END);
    a->ledger = ledger_start(a->store, a->index, e);
    return a->ledger ? 0 : -1;
}

static int start_fetcher(struct app *a, struct error *e)
{
    const struct config *c = a->config;
    const struct fetcher_options o = {.connect_timeout_ms = c->connect_timeout_ms,
                                      .header_timeout_ms = c->header_timeout_ms,
                                      .stall_timeout_ms = c->stall_timeout_ms,
                                      .max_transfers = (unsigned)c->max_transfers,
                                      .max_per_host = (unsigned)c->max_per_host,
                                      .user_agent = "tranship/" PACKAGE_VERSION};
    a->fetcher = fetcher_start(&o, e);
    return a->fetcher ? 0 : -1;
}

static int start_mirror(struct app *a, struct error *e)
{
    const struct config *c = a->config;
    struct mirror_options o = {.rules = {.tag_ttl_ms = c->tag_ttl_ms,
                                         .negative_ttl_ms = c->negative_ttl_ms,
                                         .retry_ms = RETRY_MS},
                               .memory_bytes = (size_t)c->memory_bytes};
    if (o.rules.retry_ms > c->tag_ttl_ms)
        o.rules.retry_ms = c->tag_ttl_ms;
    if (!freshness_mode_parse(c->mode, &o.rules.mode))
        return error_set(e, ERR_USAGE, "--mode: \"%s\" is none of online, prefer-cache, offline",
                         c->mode);
    a->mirror = mirror_new(&o, a->store, a->ledger, a->fetcher);
    return 0;
}

static int start_server(struct app *a, struct error *e)
{
    const struct config *c = a->config;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const struct server_options o = {.listen = c->listen,
                                     .threads = c->threads > 0   ? (unsigned)c->threads
                                                : processors > 0 ? (unsigned)processors
                                                                 : 1,
                                     .max_connections = (unsigned)c->max_connections,
                                     .max_header_bytes = (size_t)c->max_header_bytes,
                                     .request_timeout_ms = c->request_timeout_ms,
                                     .send_timeout_ms = c->send_timeout_ms,
                                     .max_request_rate = (unsigned)c->max_request_rate};
    a->server = server_start(&o, a->mirror, a->upstreams, a->index, e);
    return a->server ? 0 : -1;
}

/* Descriptors: one a connection, a few a flow. */
static void raise_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int take_signals(struct app *a, struct error *e)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    a->signals = signalfd(-1, &set, SFD_CLOEXEC);
    return a->signals < 0 ? error_errno(e, "signalfd") : 0;
}

/* true: SIGTERM or SIGINT came; false: something else, or the time is over (-1: never). */
static int wait_for_signal(struct app *a, int64_t ms)
{
    struct pollfd p = {.fd = a->signals, .events = POLLIN};
    struct signalfd_siginfo info;
    if (poll(&p, 1, (int)ms) <= 0 || read(a->signals, &info, sizeof info) != sizeof info)
        return 0;
    return info.ssi_signo != SIGHUP;
}

static void drain(struct app *a)
{
    int64_t end = clock_mono_ms() + a->config->drain_timeout_ms;
    server_quiesce(a->server);
    log_event(LOG_LEVEL_INFO, "stopping", LOG_I("busy", server_busy(a->server)), LOG_END);
    while (server_busy(a->server) > 0 && clock_mono_ms() < end)
        if (wait_for_signal(a, 20)) {
            log_event(LOG_LEVEL_WARNING, "stopping at once", LOG_END);
            log_stop();
            _exit(1);
        }
}

static void stop(struct app *a)
{
    if (a->mirror)
        mirror_stop(a->mirror);
    if (a->fetcher)
        fetcher_stop(a->fetcher);
    if (a->server)
        server_stop(a->server);
    if (a->ledger)
        ledger_stop(a->ledger);
    if (a->mirror)
        mirror_free(a->mirror);
    if (a->index)
        index_close(a->index);
    if (a->store)
        store_close(a->store);
    if (a->upstreams)
        upstreams_free(a->upstreams);
    if (a->signals >= 0)
        close(a->signals);
}

static int start(struct app *a, struct error *e)
{
    raise_limits();
    if (configure_log(a->config, e) < 0 || add_upstreams(a, e) < 0 || take_signals(a, e) < 0 ||
        log_start(e) < 0)
        return -1;
    if (open_cache(a, e) < 0 || start_fetcher(a, e) < 0 || start_mirror(a, e) < 0 ||
        start_server(a, e) < 0)
        return -1;
    for (size_t i = 0; server_address(a->server, i); i++)
        log_event(LOG_LEVEL_INFO, "serving", LOG_S("address", server_address(a->server, i)),
                  LOG_S("data", a->config->data), LOG_S("upstream", a->config->upstream),
                  LOG_S("mode", a->config->mode), LOG_END);
    return 0;
}

int app_serve(const struct config *c, struct error *e)
{
    struct app a = {.config = c, .signals = -1};
    int result = start(&a, e);
    if (result == 0) {
        while (!wait_for_signal(&a, -1))
            ;
        drain(&a);
    }
    stop(&a);
    if (result == 0)
        log_event(LOG_LEVEL_INFO, "stopped", LOG_END);
    log_stop();
    return result;
}
