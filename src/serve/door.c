/* SPDX-License-Identifier: Apache-2.0
 * The one place that knows that a client's certificate takes HTTPS. */
#include "serve/door.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "serve/access.h"
#include "serve/server.h"
#include "serve/tls.h"

static int load(struct door *d, const struct server_doors *o, struct error *e)
{
    const struct access_options rules = {
        .users = o->users, .networks = o->networks, .needs_certificate = o->client_ca != NULL};
    if (!o->tls_certificate != !o->tls_key)
        return error_set(e, ERR_USAGE, "HTTPS takes both a certificate and its key");
    if (o->client_ca && !o->tls_certificate)
        return error_set(e, ERR_USAGE,
                         "client certificates need HTTPS: a certificate and a key of this server");
    if (o->tls_certificate && !(d->tls = tls_load(o->tls_certificate, o->tls_key, o->client_ca, e)))
        return -1;
    d->access = access_load(&rules, e);
    return d->access ? 0 : -1;
}

struct door *door_load(const struct server_doors *o, struct error *e)
{
    struct door *d = alloc_zero(sizeof *d);
    d->references = 1;
    if (load(d, o, e) == 0)
        return d;
    door_unref(d);
    return NULL;
}

struct door *door_ref(struct door *d)
{
    __atomic_add_fetch(&d->references, 1, __ATOMIC_RELAXED);
    return d;
}

void door_unref(struct door *d)
{
    if (!d || __atomic_sub_fetch(&d->references, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    access_free((struct access *)d->access);
    tls_free((struct tls *)d->tls);
    free(d);
}

bool door_is_same(const struct door *a, const struct door *b)
{
    return !a->tls == !b->tls && (!a->tls || tls_is_same(a->tls, b->tls)) &&
           access_is_same(a->access, b->access);
}
