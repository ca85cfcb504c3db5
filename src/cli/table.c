/* SPDX-License-Identifier: Apache-2.0
 * Widths are counted in bytes: all that is printed is ASCII. */
#include "cli/table.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "cli/show.h"

void table_add(struct table *t, const char *cell)
{
    autostr struct str safe = {0};
    show_foreign(&safe, cell);
    if ((t->count & (t->count - 1)) == 0)
        t->cells = alloc_grow(t->cells, t->count ? t->count * 2 : 1, sizeof *t->cells);
    t->cells[t->count++] = str_take(&safe);
}

static size_t columns(const struct table *t)
{
    size_t n = 0;
    while (t->heads[n])
        n++;
    return n;
}

static bool is_right(const struct table *t, size_t column)
{
    return t->heads[column][0] == '>';
}

static const char *head_of(const struct table *t, size_t column)
{
    return t->heads[column] + is_right(t, column);
}

static void print_cell(const struct table *t, size_t column, size_t width, const char *text,
                       struct str *out)
{
    bool is_last = !t->heads[column + 1];
    if (is_right(t, column))
        str_format(out, "%*s", (int)width, text);
    else
        str_format(out, "%-*s", is_last ? 0 : (int)width, text);
    str_add(out, is_last ? "\n" : "  ");
}

void table_print(const struct table *t, struct str *out)
{
    size_t n = columns(t), widths[TABLE_COLUMNS_MAX];
    assert(n > 0 && n <= TABLE_COLUMNS_MAX);
    for (size_t c = 0; c < n; c++) {
        widths[c] = strlen(head_of(t, c));
        for (size_t i = c; i < t->count; i += n)
            if (strlen(t->cells[i]) > widths[c])
                widths[c] = strlen(t->cells[i]);
    }
    for (size_t c = 0; c < n; c++)
        print_cell(t, c, widths[c], head_of(t, c), out);
    for (size_t i = 0; i < t->count; i++)
        print_cell(t, i % n, widths[i % n], t->cells[i], out);
}

void table_fini(struct table *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct table){0};
}
