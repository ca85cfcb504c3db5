/* SPDX-License-Identifier: Apache-2.0
 * A table of options and the struct that it fills: types, bounds, defaults and checks, the same for
 * the command line, the environment and the file. The tables are .def files, whose rows become the
 * fields of a struct (option_fields.h) and an array of struct option (option_rows.h). One thread.
 */
#ifndef APP_OPTION_H
#define APP_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct json_t;
struct str;

enum option_type {
    OPTION_LIST,     /* char **, NULL-ended, never NULL */
    OPTION_TEXT,     /* char *, never NULL */
    OPTION_CHOICE,   /* char *, one of the metavar's words */
    OPTION_DURATION, /* int64_t, milliseconds; -1 where the default is "" */
    OPTION_NUMBER,   /* int64_t */
    OPTION_SIZE,     /* int64_t, bytes */
    OPTION_MIRRORS,  /* struct mirror_list; registry.h knows it, not this module */
};

/* Who said it: a later one wins over an earlier one. */
enum option_from {
    OPTION_FROM_DEFAULT,
    OPTION_FROM_FILE,
    OPTION_FROM_ENVIRONMENT,
    OPTION_FROM_COMMAND
};

struct option_mark {
    enum option_from from;
    unsigned line; /* of the file; 0: not from there */
};

struct option {
    const char *name; /* of --name; the file's key has _ for each -, a '.' is a key inside a key */
    enum option_type type;
    size_t offset, mark_offset;
    const char *initial;
    int64_t least, most;
    const char *metavar; /* says what a text is; some are checked: see option.c */
    const char *sentence;
};

struct option_table {
    const struct option *rows;
    size_t count;
};

/* into: the struct of the table's offsets, zeroed before option_init. */
void option_init(const struct option_table *t, void *into);
void option_fini(const struct option_table *t, void *into);
/* The value as text; a LIST gets it appended, or as its only item (is_first). -1 with what is wrong
 * with the value, which does not repeat a URL that has a user in it. */
int option_set(const struct option *o, void *into, const char *value, bool is_first,
               struct error *e);
/* The value of a file. -1: what is wrong; *item: with which item of a list, or -1. Nothing is
 * changed then. */
int option_set_json(const struct option *o, void *into, const struct json_t *value, long *item,
                    struct error *e);
struct option_mark *option_mark(const struct option *o, void *into);
bool option_is_same(const struct option *o, const void *a, const void *b); /* values, not marks */

/* By the name of the command line, or by the file's key path, which option_key writes; NULL: none.
 */
const struct option *option_find(const struct option_table *t, const char *name);
void option_key(const struct option *o, char *out, size_t out_bytes);
const struct option *option_find_key(const struct option_table *t, const char *key);
bool option_has_group(const struct option_table *t, const char *key); /* keys inside that key */
/* The nearest name or key, into out; false if none is near. */
bool option_nearest(const struct option_table *t, const char *name, bool is_key, char *out,
                    size_t out_bytes);
/* A check that a text of such a metavar must pass; 0, or -1. */
int option_check(const char *metavar, const char *value, struct error *e);
/* "10GiB" or "5%": one of the two, the other is 0. */
bool option_share(const char *value, int64_t *bytes, int64_t *percent);
void option_print_help(const struct option_table *t, struct str *out);

void option_list_free(char **list);
void option_list_add(char ***list, const char *value);

#endif
