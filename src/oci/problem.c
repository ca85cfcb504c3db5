/* SPDX-License-Identifier: Apache-2.0
 * Whatever an upstream says is cut and cleaned before it is repeated. */
#include "oci/problem.h"

#include <string.h>

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

/* Controls of ASCII are one byte; those of Latin-1, which some terminals obey, are 0xC2 and one
 * more. */
static bool is_control(const char *at)
{
    unsigned char c = (unsigned char)at[0], next = (unsigned char)at[1];
    return c < ' ' || c == 0x7F || (c == 0xC2 && next >= 0x80 && next < 0xA0);
}

static void copy_clean(const char *from, char *out, size_t room)
{
    size_t length = strlen(from), n = 0;
    if (room == 0)
        return;
    if (length >= room) {
        length = room - 1;
        while (length > 0 && ((unsigned char)from[length] & 0xC0) == 0x80)
            length--; /* not in the middle of a character */
    }
    for (size_t i = 0; i < length; i++) {
        bool is_bad = is_control(from + i);
        if (is_bad && (unsigned char)from[i] == 0xC2)
            i++;
        out[n++] = is_bad ? ' ' : from[i];
    }
    out[n] = '\0';
}

bool problem_read(const char *bytes, size_t length, char *code, size_t code_bytes, char *message,
                  size_t message_bytes)
{
    autojson struct json_t *document = json_parse(bytes, length, NULL);
    const struct json_t *first = json_item(json_get_array(document, "errors"), 0);
    const char *code_text = json_get_string(first, "code");
    const char *message_text = json_get_string(first, "message");
    if (!code_text && !message_text)
        return false;
    copy_clean(code_text ? code_text : "", code, code_bytes);
    copy_clean(message_text ? message_text : "", message, message_bytes);
    return true;
}
