/* SPDX-License-Identifier: Apache-2.0
 * The screen of a pull on a terminal: a bar for each blob on its way, a line for all of it. Pure:
 * who calls it moves the cursor. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

struct bring_look;
struct str;

/* Appends lines of less than that many columns, rows at most, each with its newline: their number.
 * Fewer than 40 columns count as 40, fewer than 2 rows as 2. */
unsigned progress_render(const struct bring_look *l, unsigned columns, unsigned rows,
                         struct str *out);

#endif
