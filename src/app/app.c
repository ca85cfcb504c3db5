/* SPDX-License-Identifier: Apache-2.0
 * The order of stopping is the order of dependence: no new connections, answers under way get their
 * time, the mirror refuses, the fetcher fails what is in flight, the scrub and the ledger end what
 * they were asked for (which ends every wait), the daemons stop, the ledger drains, the index and
 * the store close. libmicrohttpd aborts if it is stopped with a connection suspended, hence fetcher
 * before server.
 */
#include "app/app.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/config.h"
#include "app/mistakes.h"
#include "app/world.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "bundle/admit.h"
#include "cache/hashing.h"
#include "cache/index.h"
#include "cache/ledger.h"
#include "cache/quarantine.h"
#include "cache/room.h"
#include "cache/scrub.h"
#include "cache/store.h"
#include "fetch/fetcher.h"
#include "mirror/mirror.h"
#include "serve/server.h"
#include "upstream/upstream.h"

enum {
    INGEST_MAX_AGE_S = 7 * 24 * 3600,
    QUARANTINE_MAX_AGE_S = 7 * 24 * 3600,
    RETRY_MS = 5000,
    NOTE_MS = 60 * 1000
};

struct app {
    const struct config *config; /* of the start */
    const struct config_input *again;
    struct upstreams *upstreams;
    struct store *store;
    struct index *index;
    struct ledger *ledger;
    struct fetcher *fetcher;
    struct hashing *hashing;
    struct scrub *scrub;
    struct mirror *mirror;
    struct server *server;
    bool is_lent; /* to a command, which has the local door for itself */
    int signals;
};

static void configure_log(const struct config *c)
{
    enum log_level level = LOG_LEVEL_INFO;
    enum log_format format = LOG_FORMAT_TEXT;
    log_level_parse(c->log_level, &level); /* one of the words: config.def says which */
    log_format_parse(c->log_format, &format);
    log_configure(level, format);
}

static void set_limits(struct app *a, const struct config *c)
{
    const struct room_limits limits = config_limits(c, a->config->mode);
    room_set_limits(store_room(a->store), &limits);
}

static int open_cache(struct app *a, struct error *e)
{
    unsigned kept = 0, dropped = 0;
    a->store = store_open(a->config->data, e);
    if (!a->store)
        return -1;
    if (store_sweep_ingest(a->store, INGEST_MAX_AGE_S, &kept, &dropped, e) < 0)
        return -1;
    quarantine_sweep(a->store, QUARANTINE_MAX_AGE_S);
    a->index = index_open_serving(a->store, e);
    if (!a->index)
        return -1;
    if (kept + dropped > 0)
        log_event(LOG_LEVEL_INFO, "content on its way in taken up", LOG_I("kept", kept),
                  LOG_I("dropped", dropped), LOG_END);
    set_limits(a, a->config);
    a->ledger = ledger_start(a->store, a->index, e);
    if (!a->ledger)
        return -1;
    a->hashing = hashing_start(e);
    if (!a->hashing)
        return -1;
    a->scrub = scrub_start(a->store, a->index, a->ledger,
                           a->is_lent ? 0 : a->config->scrub_interval_ms, e);
    return a->scrub ? 0 : -1;
}

static int start_fetcher(struct app *a, struct error *e)
{
    const struct config *c = a->config;
    const struct fetcher_options o = {.connect_timeout_ms = c->connect_timeout_ms,
                                      .header_timeout_ms = c->header_timeout_ms,
                                      .stall_timeout_ms = c->stall_timeout_ms,
                                      .max_transfers = (unsigned)c->max_transfers,
                                      .max_per_host = (unsigned)c->max_per_host,
                                      .max_per_source = (unsigned)c->connections_per_source,
                                      .max_per_blob = (unsigned)c->connections_per_blob,
                                      .piece_bytes = (uint64_t)c->smallest_piece_bytes,
                                      .user_agent = "tranship/" PACKAGE_VERSION,
                                      .hashing = a->hashing};
    a->fetcher = fetcher_start(&o, e);
    return a->fetcher ? 0 : -1;
}

static int start_mirror(struct app *a, struct error *e)
{
    const struct config *c = a->config;
    struct mirror_options o = {.upstreams = a->upstreams,
                               .rules = {.tag_ttl_ms = c->tag_ttl_ms,
                                         .negative_ttl_ms = c->negative_ttl_ms,
                                         .retry_ms = RETRY_MS},
                               .ahead = {.is_on = strcmp(c->prefetch, "yes") == 0,
                                         .flows = (unsigned)c->prefetch_flows,
                                         .bytes = (uint64_t)c->prefetch_size_bytes},
                               .memory_bytes = (size_t)c->memory_bytes,
                               .admit = admit_staged,
                               .scrub = a->scrub};
    if (o.rules.retry_ms > c->tag_ttl_ms)
        o.rules.retry_ms = c->tag_ttl_ms;
    freshness_mode_parse(c->mode, &o.rules.mode); /* one of the words: config.def says which */
    a->mirror = mirror_new(&o, a->store, a->ledger, a->fetcher);
    return mirror_learn_imported(a->mirror, a->index, e);
}

static const char *text_or_null(const char *text)
{
    return text[0] ? text : NULL;
}

static struct server_doors doors_of(const struct config *c)
{
    return (struct server_doors){.tls_certificate = text_or_null(c->tls_certificate),
                                 .tls_key = text_or_null(c->tls_key),
                                 .client_ca = text_or_null(c->access_client_ca),
                                 .users = text_or_null(c->access_users),
                                 .networks = c->access_networks};
}

/* What a registry gave to us alone is not for everybody who reaches us. */
static void warn_if_open(const struct app *a)
{
    const struct upstream *u;
    if (!server_is_open_to_others(a->server))
        return;
    for (size_t i = 0; (u = upstreams_at(a->upstreams, i)); i++)
        if (upstream_has_credentials(u))
            log_event(LOG_LEVEL_WARNING,
                      "everybody who reaches this mirror gets what its credential opens: limit who "
                      "may ask (access), or listen on the loopback address only",
                      LOG_S("registry", u->registry), LOG_END);
}

static int start_server(struct app *a, struct error *e)
{
    static char *const nowhere[] = {NULL};
    const struct server_doors none = {0};
    const struct config *c = a->config;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const struct server_options o = {.listen = a->is_lent ? nowhere : c->listen,
                                     .threads = a->is_lent       ? 0
                                                : c->threads > 0 ? (unsigned)c->threads
                                                : processors > 0 ? (unsigned)processors
                                                                 : 1,
                                     .max_connections = (unsigned)c->max_connections,
                                     .max_header_bytes = (size_t)c->max_header_bytes,
                                     .request_timeout_ms = c->request_timeout_ms,
                                     .send_timeout_ms = c->send_timeout_ms,
                                     .max_request_rate = (unsigned)c->max_request_rate,
                                     .doors = a->is_lent ? none : doors_of(c),
                                     .data_folder = store_folder(a->store),
                                     .mode = c->mode,
                                     .data = c->data};
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

/* What SIGHUP takes over at once; all other options are those of the start until the next one. */
static bool is_taken_at_once(const char *name)
{
    static const char *const names[] = {
        "upstream",   "mirror",       "username",         "password-file",
        "log-format", "log-level",    "default-registry", "tls.certificate",
        "tls.key",    "access.users", "access.client-ca", "access.networks",
        "budget",     "keep-free",    "scrub-interval",   NULL};
    for (size_t i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void tell_what_waits(const struct app *a, const struct config *new)
{
    for (size_t i = 0; i < config_options.count; i++) {
        const struct option *o = &config_options.rows[i];
        if (!is_taken_at_once(o->name) && !option_is_same(o, a->config, new))
            log_event(LOG_LEVEL_WARNING, "a changed option needs a restart",
                      LOG_S("option", o->name), LOG_END);
    }
}

static void refuse(const struct config *new, const struct mistakes *m)
{
    for (size_t i = 0; i < m->count; i++)
        log_event(LOG_LEVEL_ERROR, "mistake in the configuration", LOG_S("mistake", m->all[i]),
                  LOG_END);
    log_event(LOG_LEVEL_ERROR, "the new configuration is refused, the old one stays in force",
              LOG_S("file", new->path), LOG_I("mistakes", m->count + m->left_off), LOG_END);
}

static void reload(struct app *a)
{
    struct config new = {0};
    struct mistakes m = {0};
    struct upstreams *world = NULL;
    if (config_load(&new, a->again, &m) == 0)
        world = world_build(&new, true, &m);
    struct error e;
    const struct server_doors doors = doors_of(&new);
    if (world && server_replace_doors(a->server, &doors, &e) < 0) {
        mistakes_add(&m, "%s", e.text);
        upstreams_free(world);
        world = NULL;
    }
    if (world) {
        configure_log(&new);
        set_limits(a, &new);
        scrub_set_interval(a->scrub, new.scrub_interval_ms);
        tell_what_waits(a, &new);
        bool is_changed = upstreams_replace(a->upstreams, world);
        log_event(LOG_LEVEL_INFO, "the configuration was read again", LOG_S("file", new.path),
                  LOG_S("registries", is_changed ? "changed" : "the same"), LOG_END);
        warn_if_open(a);
    } else {
        refuse(&new, &m);
    }
    config_fini(&new);
    mistakes_fini(&m);
}

/* true: SIGTERM or SIGINT came; false: something else, or the time is over (-1: never). */
static int wait_for_signal(struct app *a, int64_t ms)
{
    struct pollfd p = {.fd = a->signals, .events = POLLIN};
    struct signalfd_siginfo info;
    if (poll(&p, 1, (int)ms) <= 0 || read(a->signals, &info, sizeof info) != sizeof info)
        return 0;
    if (info.ssi_signo == SIGHUP)
        reload(a);
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
    if (a->hashing)
        hashing_stop(a->hashing);
    if (a->scrub)
        scrub_stop(a->scrub);
    while (a->mirror && mirror_is_working(a->mirror))
        ledger_settle(a->ledger);
    if (a->server)
        server_stop(a->server);
    if (a->mirror)
        mirror_note_hits(a->mirror);
    if (a->ledger)
        ledger_stop(a->ledger);
    if (a->mirror)
        mirror_free(a->mirror);
    if (a->scrub)
        scrub_free(a->scrub);
    if (a->index)
        index_close(a->index);
    if (a->store)
        store_close(a->store);
    if (a->upstreams)
        upstreams_free(a->upstreams);
    if (a->signals >= 0)
        close(a->signals);
}

static int start_all(struct app *a, struct mistakes *m, struct error *e)
{
    raise_limits();
    a->upstreams = world_build(a->config, true, m);
    if (!a->upstreams || log_start(e) < 0)
        return -1;
    if (open_cache(a, e) < 0 || start_fetcher(a, e) < 0 || start_mirror(a, e) < 0)
        return -1;
    return start_server(a, e);
}

static int start(struct app *a, struct mistakes *m, struct error *e)
{
    configure_log(a->config);
    if (take_signals(a, e) < 0 || start_all(a, m, e) < 0)
        return -1;
    const struct upstream *first = upstreams_default(a->upstreams);
    for (size_t i = 0; server_address(a->server, i); i++)
        log_event(LOG_LEVEL_INFO, "serving", LOG_S("address", server_address(a->server, i)),
                  LOG_S("data", a->config->data), LOG_S("upstream", upstream_origin(first)->url),
                  LOG_I("registries", a->config->registry_count), LOG_S("mode", a->config->mode),
                  LOG_S("config", a->config->path), LOG_END);
    warn_if_open(a);
    return 0;
}

int app_serve(const struct config *c, const struct config_input *again, struct mistakes *m,
              struct error *e)
{
    struct app a = {.config = c, .again = again, .signals = -1};
    int result = start(&a, m, e);
    if (result == 0) {
        while (!wait_for_signal(&a, NOTE_MS))
            mirror_note_hits(a.mirror);
        drain(&a);
    }
    stop(&a);
    if (result == 0)
        log_event(LOG_LEVEL_INFO, "stopped", LOG_END);
    log_stop();
    return result;
}

int app_lend(const struct config *c, int (*work)(void *cls, struct error *e), void *cls,
             struct mistakes *m, struct error *e)
{
    struct app a = {.config = c, .signals = -1, .is_lent = true};
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    signal(SIGPIPE, SIG_IGN);
    int result = start_all(&a, m, e);
    if (result == 0) {
        result = work(cls, e);
        server_quiesce(a.server);
    }
    stop(&a);
    log_stop();
    return result;
}
