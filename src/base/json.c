/* SPDX-License-Identifier: Apache-2.0
 * Typed reads from JSON, the one place that sees jansson. Documents come from strangers: depth is
 * bounded before jansson recurses into it, and duplicate keys, which two readers may understand
 * differently, are refused. */
#include "base/json.h"

#include <jansson.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

enum { DEPTH_MAX = 100 };

/* Brackets outside strings. On text that is no JSON the count may be off; jansson refuses that
 * anyway. */
static bool is_too_deep(const char *bytes, size_t length)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        char c = bytes[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            depth++;
        else if (!in_string && (c == '}' || c == ']') && depth)
            depth--;
        if (depth > DEPTH_MAX)
            return true;
    }
    return false;
}

struct json_t *json_parse(const char *bytes, size_t length, struct error *e)
{
    if (is_too_deep(bytes, length)) {
        error_set(e, ERR_CORRUPT, "JSON is nested deeper than %d", DEPTH_MAX);
        return NULL;
    }
    json_error_t reason;
    /* An escaped 0 in one annotation must not spoil a document; json_get_string leaves such a
     * string out. */
    json_t *document =
        json_loadb(length ? bytes : "", length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &reason);
    if (!document)
        error_set(e, ERR_CORRUPT, "JSON line %d column %d: %s", reason.line, reason.column,
                  reason.text);
    return document;
}

struct json_t *json_parse_loose(const char *bytes, size_t length, unsigned *line, struct error *e)
{
    json_error_t reason;
    *line = 1;
    if (is_too_deep(bytes, length))
        return error_set(e, ERR_CORRUPT, "JSON is nested deeper than %d", DEPTH_MAX), NULL;
    json_t *document = json_loadb(length ? bytes : "", length, JSON_ALLOW_NUL, &reason);
    if (!document) {
        *line = reason.line > 0 ? (unsigned)reason.line : 1;
        error_set(e, ERR_CORRUPT, "%s", reason.text);
    }
    return document;
}

void json_free(struct json_t *document)
{
    json_decref(document);
}

/* jansson has these two as macros. */
#undef json_is_object
#undef json_is_array

bool json_is_object(const struct json_t *value)
{
    return value && json_typeof(value) == JSON_OBJECT;
}

bool json_is_array(const struct json_t *value)
{
    return value && json_typeof(value) == JSON_ARRAY;
}

struct json_t *json_get(const struct json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

struct json_t *json_get_object(const struct json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_object(value) ? value : NULL;
}

struct json_t *json_get_array(const struct json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_array(value) ? value : NULL;
}

const char *json_get_string(const struct json_t *object, const char *key)
{
    return json_text(json_object_get(object, key));
}

bool json_get_integer(const struct json_t *object, const char *key, int64_t *out)
{
    return json_whole(json_object_get(object, key), out);
}

bool json_get_bool(const struct json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

const char *json_text(const struct json_t *value)
{
    const char *text = json_string_value(value);
    return text && strlen(text) == json_string_length(value) ? text : NULL;
}

bool json_whole(const struct json_t *value, int64_t *out)
{
    if (!json_is_integer(value))
        return false;
    *out = json_integer_value(value);
    return true;
}

size_t json_count(const struct json_t *array)
{
    return json_array_size(array);
}

struct json_t *json_item(const struct json_t *array, size_t i)
{
    return json_array_get(array, i);
}

void json_each(const struct json_t *object,
               bool (*visit)(const char *key, struct json_t *value, void *cls), void *cls)
{
    json_t *walked = (json_t *)object; /* jansson's iterators only read, but are not declared so */
    for (void *at = json_object_iter(walked); at; at = json_object_iter_next(walked, at))
        if (!visit(json_object_iter_key(at), json_object_iter_value(at), cls))
            return;
}

static int add_dumped(const char *bytes, size_t length, void *cls)
{
    str_add_bytes(cls, bytes, length);
    return 0;
}

void json_print(const struct json_t *value, struct str *out)
{
    json_dump_callback(value, add_dumped, out, JSON_COMPACT | JSON_ENCODE_ANY);
}
