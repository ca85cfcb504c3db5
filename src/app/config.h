/* SPDX-License-Identifier: Apache-2.0
 * Options: declared once in config.def. The command line wins over the environment, which wins over
 * the defaults. One thread. */
#ifndef APP_CONFIG_H
#define APP_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct str;

struct config {
#define LIST(field, ...) char **field; /* NULL-ended */
#define TEXT(field, ...) char *field;
#define DURATION(field, ...) int64_t field##_ms;
#define NUMBER(field, ...) int64_t field;
#define SIZE(field, ...) int64_t field##_bytes;
#include "app/config.def"
#undef LIST
#undef TEXT
#undef DURATION
#undef NUMBER
#undef SIZE
};

/* The defaults, then TRANSHIP_… variables. 0, or -1 with ERR_USAGE naming the variable. config_fini
 * after either. */
int config_init(struct config *c, struct error *e);
void config_fini(struct config *c);
/* One option by its long name; a first value for a LIST replaces what was there (is_first).
 * ERR_USAGE names the option, what is wrong, and, for an unknown one, the nearest. */
int config_set(struct config *c, const char *name, const char *value, bool is_first,
               struct error *e);
/* Does that option exist? */
bool config_has(const char *name);
const char *config_nearest(const char *name); /* or NULL */
void config_print_help(struct str *out);

#endif
