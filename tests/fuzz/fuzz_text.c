/* SPDX-License-Identifier: Apache-2.0
 * Any bytes in the small codings that headers, paths, options and JSON are made of. */
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/json.h"
#include "base/str.h"
#include "fuzz.h"
#include "upstream/token.h"

enum { ROOM = 9000 };

static void check_percent(struct slice s)
{
    autostr struct str encoded = {0};
    autofree char *out = alloc_zero(ROOM);
    str_percent_encode(&encoded, s, "/");
    bool fits = s.length < ROOM && !memchr(s.at, 0, s.length);
    must(str_percent_decode(slice_of(str_text(&encoded)), out, ROOM) == fits);
    must(!fits || (strlen(out) == s.length && memcmp(out, s.at, s.length) == 0));
    if (str_percent_decode(s, out, ROOM))
        must(strlen(out) <= s.length);
}

/* No form but the padded one is taken, and of that only what encodes to the same again. */
static void check_base64(struct slice s)
{
    autofree char *out = alloc_zero(ROOM);
    size_t length = 0;
    if (!str_base64_decode(s, out, ROOM, &length))
        return;
    must(s.length % 4 == 0 && length <= s.length / 4 * 3 && length + 2 >= s.length / 4 * 3);
    must(out[length] == 0);
    struct slice user, password;
    if (memchr(out, 0, length) || !slice_cut(slice_of(out), ':', &user, &password))
        return;
    autofree char *name = slice_dup(user), *basic = token_basic(name, password.at);
    must(slice_equals(s, basic + strlen("Basic ")));
}

/* Whatever it is, as a JSON string it is valid, and UTF-8 is kept as it was. */
static void check_json(struct slice s)
{
    autostr struct str text = {0};
    bool is_plain = true;
    for (size_t i = 0; i < s.length && is_plain; i++)
        is_plain = s.at[i] > 0;
    str_add(&text, "[");
    str_json(&text, s);
    str_add(&text, "]");
    autojson struct json_t *array = json_parse(str_text(&text), text.length, NULL);
    must(array || memchr(s.at, 0, s.length));
    if (is_plain)
        must(slice_equals(s, json_text(json_item(array, 0))));
}

static void check_numbers(struct slice s)
{
    autofree char *text = slice_dup(s);
    uint64_t bytes = 0, value = 0;
    int64_t ms = 0;
    str_parse_size(text, &bytes);
    if (str_parse_duration(text, &ms))
        must(ms >= 0);
    if (slice_u64(s, 1000, &value))
        must(value <= 1000 && s.length > 0);
}

static void check_edits(struct slice s)
{
    static const char *const words[] = {"manifests", "blobs", "tags", NULL};
    autofree char *text = slice_dup(slice_sub(s, 0, 64));
    const char *nearest = str_nearest(text, words);
    must(str_distance(text, text) == 0);
    must(!nearest || str_distance(text, nearest) <= 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = {size ? (const char *)data : "", size};
    check_percent(s);
    check_base64(s);
    check_json(s);
    check_numbers(s);
    check_edits(s);
    return 0;
}
