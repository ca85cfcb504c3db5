/* SPDX-License-Identifier: Apache-2.0
 * The words after a command's name: a table says what there is, reading and --help derive from it.
 * Not for serve, whose options are those of the configuration. */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

struct config;
struct error;

struct argument {
    const char *name;     /* "--since", "-o" */
    const char *metavar;  /* NULL: a flag */
    const char *sentence; /* for --help */
    const char **value;   /* of one with a value; the last one counts */
    bool *flag;           /* of a flag */
};

struct arguments {
    const char *usage; /* "export -o FILE IMAGE…" and a paragraph */
    const struct argument *table;
    size_t count;
    const char *config, *data; /* every command takes them */
};

/* The words that are no options are moved to the front of argv: their count; -1 and ERR_USAGE for
 * an unknown option (with the nearest) or a value that is missing; -2 after --help was printed. */
int arguments_read(struct arguments *a, int argc, char **argv, struct error *e);

/* The configuration by command line, environment, file and defaults: config_fini. -1: what was
 * wrong with it stands on stderr. */
int arguments_config(const struct arguments *a, struct config *out);
/* The data folder by command line, environment, file or default; owned. NULL: what was wrong with
 * the configuration stands on stderr. */
char *arguments_data(const struct arguments *a);

/* Prints the error as all commands do, and gives the exit status for it. */
int arguments_fail(const struct error *e);

#endif
