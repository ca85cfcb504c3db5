/* SPDX-License-Identifier: Apache-2.0
 * Rounded down: what is shown is there. */
#include "cli/show.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

void show_bytes(struct str *out, int64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    if (bytes < 1024) {
        str_format(out, "%" PRId64 " B", bytes);
        return;
    }
    unsigned i = 0;
    int64_t tenths = bytes / 1024 * 10 + bytes % 1024 * 10 / 1024;
    for (; tenths >= 10240 && i + 1 < sizeof units / sizeof *units; i++)
        tenths /= 1024;
    str_format(out, "%" PRId64 ".%" PRId64 " %s", tenths / 10, tenths % 10, units[i]);
}

void show_duration(struct str *out, int64_t ms)
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    unsigned i = ms <= 0 ? 3 : 0;
    while (i < 4 && ms > 0 && ms < units[i].ms)
        i++;
    if (ms < 0)
        ms = 0; /* a clock was set back */
    str_format(out, "%" PRId64 "%s", ms / units[i].ms, units[i].name);
    int64_t rest = ms % units[i].ms;
    if (i < 3 && rest >= units[i + 1].ms)
        str_format(out, "%" PRId64 "%s", rest / units[i + 1].ms, units[i + 1].name);
}

void show_foreign(struct str *out, const char *text)
{
    for (; *text; text++)
        str_add_char(out, *text >= ' ' && *text <= '~' ? *text : '?');
}

int64_t show_number(const struct json_t *of, const char *key)
{
    int64_t n = 0;
    json_get_integer(of, key, &n);
    return n;
}

const char *show_text(const struct json_t *of, const char *key)
{
    const char *found = json_get_string(of, key);
    return found ? found : "-";
}

void show_document(const struct json_t *document, struct str *out)
{
    json_print(document, out);
    str_add_char(out, '\n');
}

int show_print(const struct str *text, struct error *e)
{
    return fputs(str_text(text), stdout) < 0 || fflush(stdout) != 0 ? error_errno(e, "print") : 0;
}
