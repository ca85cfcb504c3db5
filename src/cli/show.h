/* SPDX-License-Identifier: Apache-2.0
 * Numbers as people read them, for the tables of commands. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <stdint.h>

struct str;

/* Appended: "1.2 GiB", "17 B". */
void show_bytes(struct str *out, int64_t bytes);
/* "3d4h", "3m12s", "250ms": the two largest units. */
void show_duration(struct str *out, int64_t ms);

#endif
