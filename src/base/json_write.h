/* SPDX-License-Identifier: Apache-2.0
 * Compact JSON, written piece by piece into a string: commas come by themselves. key: the name
 * within an object; NULL within an array, and for the outermost. One thread. */
#ifndef BASE_JSON_WRITE_H
#define BASE_JSON_WRITE_H

#include <stdbool.h>
#include <stdint.h>

struct str;

void json_write_open(struct str *out, const char *key, char bracket);      /* '{' or '[' */
void json_write_close(struct str *out, char bracket);                      /* '}' or ']' */
void json_write_text(struct str *out, const char *key, const char *value); /* NULL: null */
void json_write_number(struct str *out, const char *key, int64_t value);
/* null instead, where it is not known. */
void json_write_known(struct str *out, const char *key, int64_t value, bool is_known);
void json_write_ratio(struct str *out, const char *key, double value); /* four decimals */
void json_write_bool(struct str *out, const char *key, bool value);

#endif
