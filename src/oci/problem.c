/* SPDX-License-Identifier: Apache-2.0
 * Whatever an upstream says is cut and cleaned before it is repeated. */
#include "oci/problem.h"

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

void problem_print(const struct error *e, struct str *out)
{
    str_add(out, "{\"errors\":[{\"code\":");
    str_json(out, slice_of(error_code(e->kind)));
    str_add(out, ",\"message\":");
    str_json(out, slice_of(e->text));
    str_add(out, "}]}");
}

static void copy_clean(const char *from, char *out, size_t room)
{
    size_t n = 0;
    for (; from && from[n] && n + 1 < room; n++)
        out[n] = (unsigned char)from[n] < ' ' || from[n] == 0x7f ? ' ' : from[n];
    while (n > 0 && ((unsigned char)out[n - 1] & 0xc0) == 0x80 && from[n])
        n--; /* not in the middle of a character */
    out[n] = 0;
}

bool problem_read(const char *bytes, size_t length, char *code, size_t code_bytes, char *message, size_t message_bytes)
{
    autojson struct json_t *document = json_parse(bytes, length, NULL);
    const struct json_t *errors = document ? json_get_array(document, "errors") : NULL;
    const struct json_t *first = errors ? json_item(errors, 0) : NULL;
    if (!first || !json_is_object(first))
        return false;
    copy_clean(json_get_string(first, "code"), code, code_bytes);
    copy_clean(json_get_string(first, "message"), message, message_bytes);
    return code[0] || message[0];
}
