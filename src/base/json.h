/* SPDX-License-Identifier: Apache-2.0
 * Typed reads from JSON. The only folder that includes jansson.h is base; others see struct json_t
 * as an opaque pointer. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct json_t;
struct str;

/* Parses a whole document (duplicate keys, trailing bytes and nesting deeper than 100 refused).
 * Owned by the caller; json_free. NULL and ERR_CORRUPT with line and column on failure. */
struct json_t *json_parse(const char *bytes, size_t length, struct error *e);
/* The same for a person's own file: of a duplicate key the last counts (json_lines_duplicate finds
 * them), *line is where the text stops being JSON, and the error says why without it. */
struct json_t *json_parse_loose(const char *bytes, size_t length, unsigned *line, struct error *e);
void json_free(struct json_t *document);
static inline void json_auto_free_(struct json_t **p)
{
    json_free(*p);
}
#define autojson __attribute__((cleanup(json_auto_free_)))

/* Borrowed from the document. Absent, or of another type: NULL / the count 0 / false and *out
 * untouched. */
struct json_t *json_get(const struct json_t *object, const char *key); /* any type but null */
struct json_t *json_get_object(const struct json_t *object, const char *key);
struct json_t *json_get_array(const struct json_t *object, const char *key);
const char *json_get_string(const struct json_t *object,
                            const char *key); /* 0-terminated; one with an inner 0 is absent */
bool json_get_integer(const struct json_t *object, const char *key, int64_t *out);
bool json_get_bool(const struct json_t *object, const char *key); /* false: absent, too */
bool json_is_object(const struct json_t *value);
bool json_is_array(const struct json_t *value);
const char *json_text(const struct json_t *value); /* NULL unless a string, or with an inner 0 */
/* false unless it is a whole number */
bool json_whole(const struct json_t *value, int64_t *out);
size_t json_count(const struct json_t *array);
struct json_t *json_item(const struct json_t *array, size_t i);
/* Visits every key of an object; stops when visit returns false. */
void json_each(const struct json_t *object,
               bool (*visit)(const char *key, struct json_t *value, void *cls), void *cls);
/* Appends the value as compact JSON. */
void json_print(const struct json_t *value, struct str *out);

#endif
