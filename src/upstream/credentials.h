/* SPDX-License-Identifier: Apache-2.0
 * What `docker login` and docker's credential helpers write, read into a user and a password. Pure:
 * who calls reads the file and runs the program. */
#ifndef UPSTREAM_CREDENTIALS_H
#define UPSTREAM_CREDENTIALS_H

#include <stddef.h>

struct error;

/* Owned strings; NULL: not said. */
struct credentials {
    char *username, *password;
    char *helper; /* the name of the program to ask instead: docker-credential-<helper> */
    char *token;  /* in the place of both; NULL: none */
};

void credentials_fini(struct credentials *c);
/* Of docker's config.json: for that registry (canonical) the program that the file names for it, or
 * the user and password that it holds. 1, 0 if the file knows nothing of the registry, -1 with
 * ERR_USAGE; the error repeats nothing of the file. */
int credentials_from_docker(const char *bytes, size_t length, const char *registry,
                            struct credentials *out, struct error *e);
/* The answer of a helper to `get`. 0, or -1 with ERR_USAGE, which repeats nothing of it. */
int credentials_from_helper(const char *bytes, size_t length, struct credentials *out,
                            struct error *e);
/* What a helper is asked for, and what `docker login` files a registry under. */
const char *credentials_server(const char *registry);

#endif
