/* SPDX-License-Identifier: Apache-2.0
 * A bounded list of lines. */
#include "app/mistakes.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { LINE_MAX_BYTES = 2048 };

void mistakes_add(struct mistakes *m, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    va_list arguments;
    if (m->count == MISTAKES_MAX) {
        m->left_off++;
        return;
    }
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *c = line; *c; c++) /* of a stranger's file: a line stays one, a terminal unharmed */
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    m->all = alloc_grow(m->all, m->count + 1, sizeof *m->all);
    m->all[m->count++] = alloc_string(line);
}

void mistakes_print(const struct mistakes *m, FILE *to, const char *before)
{
    for (size_t i = 0; i < m->count; i++)
        fprintf(to, "%s%s\n", before, m->all[i]);
    if (m->left_off > 0)
        fprintf(to, "%sand %zu more\n", before, m->left_off);
}

void mistakes_fini(struct mistakes *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->all[i]);
    free(m->all);
    memset(m, 0, sizeof *m);
}
