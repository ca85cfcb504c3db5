/* SPDX-License-Identifier: Apache-2.0
 * Every worker listens on every address, each with a socket of its own. */
#include "serve/server.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cache/index.h"
#include "cache/store.h"
#include "serve/access.h"
#include "serve/door.h"
#include "serve/listen.h"
#include "serve/request.h"
#include "serve/tally.h"
#include "serve/worker.h"

enum { MAX_ADDRESSES = 16 };

struct server {
    struct server_options options;
    struct hall hall, local_hall;
    struct about about;
    struct worker *local;
    struct tallies *tallies;
    struct worker **workers;
    size_t worker_count;
    struct listen_address addresses[MAX_ADDRESSES];
    char *printed[MAX_ADDRESSES + 1];
    size_t address_count;
};

static int resolve_all(struct server *s, struct error *e)
{
    for (char *const *text = s->options.listen; *text; text++) {
        if (s->address_count == MAX_ADDRESSES)
            return error_set(e, ERR_USAGE, "more than %d listen addresses", MAX_ADDRESSES);
        if (listen_resolve(*text, &s->addresses[s->address_count], e) < 0)
            return -1;
        s->address_count++;
    }
    return 0;
}

static void close_all(const int *sockets, size_t count)
{
    for (size_t i = 0; i < count; i++)
        close(sockets[i]);
}

static int open_all(struct server *s, int *sockets, struct error *e)
{
    for (size_t i = 0; i < s->address_count; i++) {
        sockets[i] = listen_open(&s->addresses[i], e);
        if (sockets[i] < 0) {
            close_all(sockets, i);
            return -1;
        }
    }
    return 0;
}

static void print_all(struct server *s)
{
    for (size_t i = 0; i < s->address_count; i++)
        s->printed[i] = listen_print(&s->addresses[i]);
}

static int add_worker(struct server *s, struct desk *d, struct index *x, struct error *e)
{
    int sockets[MAX_ADDRESSES] = {0};
    if (open_all(s, sockets, e) < 0)
        return -1;
    if (s->worker_count == 0)
        print_all(s); /* the ports are known now, and nobody asks yet */
    d->tally = tallies_at(s->tallies, (unsigned)s->worker_count);
    d->reader = index_reader_open(x, e);
    struct worker *w = d->reader ? worker_start(&s->hall, d, sockets, s->address_count, e) : NULL;
    if (!w) {
        close_all(sockets, s->address_count);
        if (d->reader)
            index_reader_close(d->reader);
        return -1;
    }
    s->workers[s->worker_count++] = w;
    return 0;
}

static int open_local(struct server *s, struct desk *d, struct index *x, struct error *e)
{
    autoclose int fd = listen_open_local(s->options.data_folder, STORE_DOOR, e);
    if (fd < 0)
        return -1;
    d->is_local = true;
    d->is_https = false;
    d->tally = tallies_at(s->tallies, s->options.threads);
    d->reader = index_reader_open(x, e);
    s->local = d->reader ? worker_start(&s->local_hall, d, &fd, 1, e) : NULL;
    if (s->local) {
        (void)take_fd(fd);
        return 0;
    }
    if (d->reader)
        index_reader_close(d->reader);
    unlinkat(s->options.data_folder, STORE_DOOR, 0);
    return -1;
}

int server_replace_doors(struct server *s, const struct server_doors *o, struct error *e)
{
    struct door *old = s->hall.door, *new = door_load(o, e);
    if (!new)
        return -1;
    if (old && !old->tls != !new->tls) {
        door_unref(new);
        return error_set(e, ERR_USAGE, "HTTPS is switched on or off by a restart");
    }
    if (old && door_is_same(old, new)) {
        door_unref(new);
        return 0;
    }
    hall_put_door(&s->hall, new);
    return 0;
}

bool server_is_open_to_others(const struct server *s)
{
    bool is_reachable = false;
    for (size_t i = 0; i < s->address_count; i++)
        is_reachable = is_reachable || !listen_is_loopback(&s->addresses[i]);
    return is_reachable && access_is_empty(s->hall.door->access);
}

struct server *server_start(const struct server_options *o, struct mirror *m, struct upstreams *u,
                            struct index *x, struct error *e)
{
    struct server *s = alloc_zero(sizeof *s);
    s->options = *o;
    s->hall.options = &s->options;
    s->workers = alloc_array(o->threads, sizeof(struct worker *));
    s->local_hall = (struct hall){.options = &s->options, .is_local = true};
    s->about = (struct about){.mode = o->mode,
                              .data = o->data,
                              .started_at = clock_wall_s(),
                              .started_ms = clock_mono_ms(),
                              .addresses = s->printed};
    s->tallies = tallies_new(o->threads + 1); /* the last: of the local door */
    mutex_init(&s->hall.mutex, RANK_CONNECTIONS);
    int failed = server_replace_doors(s, &o->doors, e);
    struct desk d = {.mirror = m,
                     .upstreams = u,
                     .about = &s->about,
                     .is_stopping = &s->hall.is_stopping,
                     .is_https = s->hall.door && s->hall.door->tls,
                     .tallies = s->tallies};
    if (!failed)
        failed = resolve_all(s, e);
    for (unsigned i = 0; i < o->threads && !failed; i++)
        failed = add_worker(s, &d, x, e);
    if (failed) {
        server_stop(s);
        return NULL;
    }
    if (open_local(s, &d, x, e) < 0)
        log_event(LOG_LEVEL_WARNING, "commands cannot reach this server", LOG_S("data", o->data),
                  LOG_S("error", e->text), LOG_END);
    return s;
}

const char *server_address(const struct server *s, size_t i)
{
    return i < s->address_count ? s->printed[i] : NULL;
}

unsigned server_busy(const struct server *s)
{
    unsigned busy = s->local ? worker_busy(s->local) : 0;
    for (size_t i = 0; i < s->worker_count; i++)
        busy += worker_busy(s->workers[i]);
    return busy;
}

void server_quiesce(struct server *s)
{
    __atomic_store_n(&s->hall.is_stopping, true, __ATOMIC_RELEASE);
    for (size_t i = 0; i < s->worker_count; i++)
        worker_quiesce(s->workers[i]);
    if (s->local)
        worker_quiesce(s->local);
}

void server_stop(struct server *s)
{
    for (size_t i = 0; i < s->worker_count; i++)
        worker_stop(s->workers[i]);
    if (s->local) {
        worker_stop(s->local);
        unlinkat(s->options.data_folder, STORE_DOOR, 0);
    }
    for (size_t i = 0; i < s->address_count; i++)
        free(s->printed[i]);
    door_unref(s->hall.door);
    mutex_fini(&s->hall.mutex);
    tallies_free(s->tallies);
    free(s->workers);
    free(s);
}
