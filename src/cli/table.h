/* SPDX-License-Identifier: Apache-2.0
 * A table on a screen, or for a script: columns as wide as what is in them, two spaces apart. What
 * could move a cursor becomes '?'. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stddef.h>

struct str;

enum { TABLE_COLUMNS_MAX = 12 };

/* Zeroed: empty. */
struct table {
    const char *const *heads; /* NULL-ended; borrowed */
    char **cells;             /* row after row */
    size_t count;
};

void table_add(struct table *t, const char *cell); /* the next one; copied */
/* Appended, heads first. A column whose head begins with '>' is set to the right. */
void table_print(const struct table *t, struct str *out);
void table_fini(struct table *t);
#define autotable __attribute__((cleanup(table_fini)))

#endif
