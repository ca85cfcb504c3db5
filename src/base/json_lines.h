/* SPDX-License-Identifier: Apache-2.0
 * Where in a JSON text each key stands, for whoever has to tell a person of a mistake: the parser
 * of base/json knows lines only of what is no JSON. Nodes are numbers; 0 is the document. Immutable
 * once made. */
#ifndef BASE_JSON_LINES_H
#define BASE_JSON_LINES_H

#include <stddef.h>

struct json_lines;
struct str;

/* Of a text that json_parse_loose accepted; of any other it is safe and means nothing. Owned. */
struct json_lines *json_lines_new(const char *bytes, size_t length);
void json_lines_free(struct json_lines *l);
static inline void json_lines_auto_free_(struct json_lines **p)
{
    json_lines_free(*p);
}
#define autojsonlines __attribute__((cleanup(json_lines_auto_free_)))

/* The member of that name (of duplicates the last, as the parser takes it), the i-th item of an
 * array; the node itself if there is none. */
unsigned json_lines_key(const struct json_lines *l, unsigned node, const char *key);
unsigned json_lines_item(const struct json_lines *l, unsigned node, size_t i);
unsigned json_lines_at(const struct json_lines *l, unsigned node); /* its line, from 1 */
/* Appends its path: `registries.docker.io.mirrors[1]`. Keys that hold more than letters, digits and
 * "_.:/-" are quoted, long ones cut. Nothing for the document. */
void json_lines_path(const struct json_lines *l, unsigned node, struct str *out);
/* The first node after that one (0: from the start) whose key its object has had before; 0: none.
 */
unsigned json_lines_duplicate(const struct json_lines *l, unsigned after);

#endif
