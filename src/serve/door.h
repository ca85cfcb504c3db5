/* SPDX-License-Identifier: Apache-2.0
 * What stands between a stranger and an answer: the certificate of HTTPS and the rules of access,
 * loaded and replaced together. A door is counted and never changed: who came through one keeps it
 * until he leaves. Inside of serve/. */
#ifndef SERVE_DOOR_H
#define SERVE_DOOR_H

#include <stdbool.h>

struct access;
struct error;
struct server_doors;
struct tls;

struct door {
    const struct access *access;
    const struct tls *tls; /* NULL: plain HTTP */
    /* private */
    unsigned references;
};

/* NULL with ERR_USAGE naming what does not fit: a file, a line of it, a network. */
struct door *door_load(const struct server_doors *o, struct error *e);
struct door *door_ref(struct door *d);
void door_unref(struct door *d); /* NULL is fine */
/* By what the files held. */
bool door_is_same(const struct door *a, const struct door *b);

#endif
