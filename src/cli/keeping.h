/* SPDX-License-Identifier: Apache-2.0
 * What the commands share that change what is held, whether a server runs on the data folder or
 * not. */
#ifndef CLI_KEEPING_H
#define CLI_KEEPING_H

#include <stdbool.h>

#include "cache/keep.h"

struct config;
struct error;
struct json_t;

/* By the server that runs on the data folder (POST /control/<verb>), else here, with the folder
 * held for as long, within the limits that are configured. The report is the caller's: json_free.
 * NULL, and the error. */
struct json_t *keeping_do(const struct config *c, const char *verb, keep_work work,
                          const struct str *request, struct error *e);

/* POST that to the server on the folder: 1 with its report in out, 0 nobody runs there, -1 with
 * what it said. */
int keeping_ask(const char *data, const char *verb, const char *request, struct str *out,
                struct error *e);

/* A command that takes images, and does one thing with all of them. */
struct keeping_verb {
    const char *name, *usage;
    keep_work work;
    void (*add_line)(const struct json_t *image, struct str *out); /* of the report's "images" */
    bool takes_digests; /* without the name of an image, too */
};
int keeping_command(const struct keeping_verb *v, int argc, char **argv); /* the exit status */

#endif
