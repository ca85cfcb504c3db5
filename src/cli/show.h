/* SPDX-License-Identifier: Apache-2.0
 * What commands show on a screen: numbers as people read them, and what an answer in JSON says. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <stdint.h>

struct error;
struct json_t;
struct str;

/* Appended: "1.2 GiB", "17 B". */
void show_bytes(struct str *out, int64_t bytes);
/* "3d4h", "3m12s", "250ms": the two largest units. */
void show_duration(struct str *out, int64_t ms);
/* A stranger's word: what could move a terminal's cursor, or is not ASCII, becomes '?'. */
void show_foreign(struct str *out, const char *text);
/* Of an object's key: 0, and "-", where it says nothing. Borrowed from the document. */
int64_t show_number(const struct json_t *of, const char *key);
const char *show_text(const struct json_t *of, const char *key);

/* The document and a newline, appended. */
void show_document(const struct json_t *document, struct str *out);
/* To standard output. 0 or -1. */
int show_print(const struct str *text, struct error *e);

#endif
