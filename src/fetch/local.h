/* SPDX-License-Identifier: Apache-2.0
 * The way of a command to the server that runs on a data folder: one request to its local door.
 * Waits for the answer. From one thread of a program that runs no fetcher. */
#ifndef FETCH_LOCAL_H
#define FETCH_LOCAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct error;

struct local_request {
    const char *data;   /* the data folder */
    const char *path;   /* "/api/status", encoded */
    const char *body;   /* NULL: GET; else what is POSTed */
    int64_t timeout_ms; /* for all of it */
};

struct local_answer {
    int status;
    struct str body; /* at most 64 MiB; str_fini */
};

/* 1: there is an answer, of whatever status; 0: no server runs on that folder; -1: it cannot be
 * asked (ERR_DENIED), gives no answer in time (ERR_TIMEOUT), or a broken one (ERR_IO). */
int local_ask(const struct local_request *r, struct local_answer *out, struct error *e);

#endif
