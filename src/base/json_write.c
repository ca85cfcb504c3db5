/* SPDX-License-Identifier: Apache-2.0
 * What was written last tells whether a comma is due. */
#include "base/json_write.h"

#include <inttypes.h>

#include "base/str.h"

static void begin(struct str *out, const char *key)
{
    char last = out->length > 0 ? out->text[out->length - 1] : '{';
    if (last != '{' && last != '[')
        str_add_char(out, ',');
    if (!key)
        return;
    str_json(out, slice_of(key));
    str_add_char(out, ':');
}

void json_write_open(struct str *out, const char *key, char bracket)
{
    begin(out, key);
    str_add_char(out, bracket);
}

void json_write_close(struct str *out, char bracket)
{
    str_add_char(out, bracket);
}

void json_write_text(struct str *out, const char *key, const char *value)
{
    begin(out, key);
    if (value)
        str_json(out, slice_of(value));
    else
        str_add(out, "null");
}

void json_write_number(struct str *out, const char *key, int64_t value)
{
    begin(out, key);
    str_format(out, "%" PRId64, value);
}

void json_write_known(struct str *out, const char *key, int64_t value, bool is_known)
{
    if (is_known)
        json_write_number(out, key, value);
    else
        json_write_text(out, key, NULL);
}

void json_write_ratio(struct str *out, const char *key, double value)
{
    begin(out, key);
    str_format(out, "%.4f", value);
}

void json_write_bool(struct str *out, const char *key, bool value)
{
    begin(out, key);
    str_add(out, value ? "true" : "false");
}
