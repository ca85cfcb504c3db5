/* SPDX-License-Identifier: Apache-2.0
 * Who may ask: from which networks, with which client certificate, as which user. Every rule that
 * is configured must be met; with none, everybody may. The rules are read only once loaded; what a
 * worker remembers of them is its own. Inside of serve/. */
#ifndef SERVE_ACCESS_H
#define SERVE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct access;
struct error;

struct access_options {
    const char *users;      /* a file as htpasswd -B writes it: "user:hash" lines; NULL: none */
    char *const *networks;  /* "10.0.0.0/8", "::1", "fd00::/8"; NULL-ended; NULL: all */
    bool needs_certificate; /* of a client, signed by the authority that the server trusts */
};

/* The rules, owned by the caller; NULL with ERR_USAGE naming the file and line, or the network. */
struct access *access_load(const struct access_options *o, struct error *e);
void access_free(struct access *a);
bool access_is_same(const struct access *a, const struct access *b);
bool access_is_empty(const struct access *a); /* everybody may */

/* What one worker found out: passwords are hashed slowly on purpose, so a pair that was checked is
 * remembered, as a digest, until other rules come, and who brings wrong ones waits (throttle.h).
 * One thread. */
struct access_memory;
struct access_memory *access_memory_new(void);
void access_memory_free(struct access_memory *m);
/* Other rules came: what was right may be wrong now. Who guessed stays remembered. */
void access_memory_forget(struct access_memory *m);

/* What is known of a client. */
struct visitor {
    const struct sockaddr *address;
    bool has_certificate;      /* a good one */
    const char *authorization; /* the header; NULL: none */
    int64_t came_ms;           /* the request; monotonic, as below */
    bool has_waited;           /* it was told to wait, and did */
};

bool access_wants_certificate(const struct access *a);
/* 0: come in. 1: its password's turn is at *at_ms, ask again then. -1: ERR_DENIED (its network, its
 * certificate), ERR_UNAUTHORIZED (no user, or a wrong password), ERR_BUSY (too many wait for their
 * turn). A pair that was right before, or wrong before, never waits. */
int access_check(const struct access *a, struct access_memory *m, const struct visitor *v,
                 int64_t now_ms, int64_t *at_ms, struct error *e);

#endif
