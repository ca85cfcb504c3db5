/* SPDX-License-Identifier: Apache-2.0
 * Slices and a growable string. Bytes are bytes: no locale, letters of ASCII only where case is
 * ignored. */
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/auto.h"

struct slice slice_of(const char *text)
{
    return (struct slice){text, text ? strlen(text) : 0};
}

struct slice slice_sub(struct slice s, size_t from, size_t length)
{
    if (from > s.length)
        from = s.length;
    if (length > s.length - from)
        length = s.length - from;
    return (struct slice){from ? s.at + from : s.at, length};
}

bool slice_equals(struct slice s, const char *text)
{
    size_t length = strlen(text);
    return s.length == length && (length == 0 || memcmp(s.at, text, length) == 0);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool slice_equals_nocase(struct slice s, const char *text)
{
    size_t i = 0;
    while (i < s.length && text[i] && lower(s.at[i]) == lower(text[i]))
        i++;
    return i == s.length && text[i] == '\0';
}

bool slice_starts(struct slice s, const char *prefix)
{
    return slice_equals(slice_sub(s, 0, strlen(prefix)), prefix);
}

bool slice_ends(struct slice s, const char *suffix)
{
    size_t length = strlen(suffix);
    return length <= s.length && slice_equals(slice_sub(s, s.length - length, length), suffix);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
    while (s.length && is_blank(s.at[0]))
        s = slice_sub(s, 1, s.length);
    while (s.length && is_blank(s.at[s.length - 1]))
        s.length--;
    return s;
}

static void cut_at(struct slice s, size_t i, struct slice *head, struct slice *tail)
{
    *head = slice_sub(s, 0, i);
    *tail = slice_sub(s, i + 1, s.length);
}

bool slice_cut(struct slice s, char at, struct slice *head, struct slice *tail)
{
    const char *found = s.length ? memchr(s.at, at, s.length) : NULL;
    if (!found)
        return false;
    cut_at(s, (size_t)(found - s.at), head, tail);
    return true;
}

bool slice_cut_last(struct slice s, char at, struct slice *head, struct slice *tail)
{
    const char *found = s.length ? memrchr(s.at, at, s.length) : NULL;
    if (!found)
        return false;
    cut_at(s, (size_t)(found - s.at), head, tail);
    return true;
}

bool slice_u64(struct slice s, uint64_t max, uint64_t *value)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s.length; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        if (__builtin_mul_overflow(sum, 10U, &sum) ||
            __builtin_add_overflow(sum, (unsigned)(s.at[i] - '0'), &sum))
            return false;
    }
    if (s.length == 0 || sum > max)
        return false;
    *value = sum;
    return true;
}

char *slice_dup(struct slice s)
{
    return alloc_bytes(s.at, s.length);
}

bool slice_copy(struct slice s, char *out, size_t out_bytes)
{
    if (s.length >= out_bytes)
        return false;
    if (s.length)
        memmove(out, s.at, s.length);
    out[s.length] = '\0';
    return true;
}

static size_t utf8_length(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

size_t slice_utf8(struct slice s)
{
    const unsigned char *b = (const unsigned char *)s.at;
    if (s.length == 0)
        return 0;
    size_t length = utf8_length(b[0]);
    if (length > s.length)
        return 0;
    if (length < 2)
        return length;
    /* Bounds that leave out overlong forms, surrogates and what is above U+10FFFF. */
    unsigned char low = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
    if (b[1] < low || b[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((b[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

/* Room for `more` bytes and the 0. Doubling keeps a string built byte by byte linear. */
static void make_room(struct str *s, size_t more)
{
    size_t wanted = s->length + more + 1;
    if (wanted < more)
        wanted = SIZE_MAX; /* which alloc_grow refuses */
    if (s->text && wanted <= s->room)
        return;
    size_t room = s->room < 64 ? 64 : s->room;
    while (room < wanted)
        room = room > SIZE_MAX / 2 ? wanted : room * 2;
    s->text = alloc_grow(s->text, room, 1);
    s->room = room;
}

void str_add_bytes(struct str *s, const void *bytes, size_t length)
{
    if (length == 0)
        return;
    make_room(s, length);
    memcpy(s->text + s->length, bytes, length);
    s->length += length;
    s->text[s->length] = '\0';
}

void str_add(struct str *s, const char *text)
{
    str_add_bytes(s, text, strlen(text));
}

void str_add_char(struct str *s, char c)
{
    str_add_bytes(s, &c, 1);
}

void str_format(struct str *s, const char *format, ...)
{
    make_room(s, 0);
    for (;;) {
        size_t room = s->room - s->length;
        va_list args;
        va_start(args, format);
        int length = vsnprintf(s->text + s->length, room, format, args);
        va_end(args);
        if (length < 0) { /* more than INT_MAX bytes: nothing of it is added */
            s->text[s->length] = '\0';
            return;
        }
        if ((size_t)length < room) {
            s->length += (size_t)length;
            return;
        }
        make_room(s, (size_t)length);
    }
}

static void add_json_ascii(struct str *s, char c)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = c ? strchr(plain, c) : NULL;
    if (found) {
        str_add_char(s, '\\');
        str_add_char(s, letters[found - plain]);
    } else if ((unsigned char)c < 0x20 || c == 0x7F) {
        str_format(s, "\\u%04x", (unsigned)(unsigned char)c);
    } else {
        str_add_char(s, c);
    }
}

void str_json(struct str *s, struct slice value)
{
    make_room(s, value.length + 2);
    str_add_char(s, '"');
    while (value.length) {
        size_t length = slice_utf8(value);
        if (length == 1)
            add_json_ascii(s, value.at[0]);
        else if (length == 0)
            str_add(s, "\xEF\xBF\xBD");
        else
            str_add_bytes(s, value.at, length);
        value = slice_sub(value, length ? length : 1, value.length);
    }
    str_add_char(s, '"');
}

const char *str_text(const struct str *s)
{
    return s->text ? s->text : "";
}

char *str_take(struct str *s)
{
    char *text = s->text ? s->text : alloc_zero(1);
    *s = (struct str){0};
    return text;
}

void str_clear(struct str *s)
{
    s->length = 0;
    if (s->text)
        s->text[0] = '\0';
}

void str_fini(struct str *s)
{
    free(s->text);
    *s = (struct str){0};
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Row by row, of which the last two are remembered: a swap looks two rows back. */
unsigned str_distance(const char *a, const char *b)
{
    size_t width = strlen(b) + 1;
    autofree unsigned *rows = alloc_array(3 * width, sizeof(*rows));
    unsigned *before = rows, *last = rows + width, *now = rows + 2 * width;
    for (size_t j = 0; j < width; j++)
        now[j] = (unsigned)j;
    for (size_t i = 1; a[i - 1]; i++) {
        unsigned *oldest = before;
        before = last;
        last = now;
        now = oldest;
        now[0] = (unsigned)i;
        for (size_t j = 1; j < width; j++) {
            unsigned edits = last[j - 1] + (a[i - 1] != b[j - 1]);
            edits = least(edits, least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                edits = least(edits, before[j - 2] + 1);
            now[j] = edits;
        }
    }
    return now[width - 1];
}

const char *str_nearest(const char *word, const char *const *words)
{
    const char *nearest = NULL;
    unsigned least_edits = 4;
    for (; *words; words++) {
        unsigned edits = str_distance(word, *words);
        if (edits < least_edits) {
            least_edits = edits;
            nearest = *words;
        }
    }
    return nearest;
}

/* Splits "10GiB" into 10 and "GiB". */
static bool split_number(const char *text, uint64_t *number, const char **unit)
{
    size_t digits = strspn(text, "0123456789");
    *unit = text + digits;
    return slice_u64((struct slice){text, digits}, UINT64_MAX, number);
}

bool str_parse_size(const char *text, uint64_t *bytes)
{
    static const char letters[] = "kmgt";
    uint64_t number;
    const char *unit;
    if (!split_number(text, &number, &unit))
        return false;
    const char *letter = *unit ? strchr(letters, lower(*unit)) : NULL;
    size_t power = letter ? (size_t)(letter - letters) + 1 : 0;
    struct slice rest = slice_of(unit + (power > 0));
    bool is_decimal = slice_equals_nocase(rest, "b");
    bool is_binary = rest.length == 0 || (power && slice_equals_nocase(rest, "ib"));
    if (!is_decimal && !is_binary)
        return false;
    uint64_t base = is_decimal ? 1000 : 1024;
    for (; power; power--)
        if (__builtin_mul_overflow(number, base, &number))
            return false;
    *bytes = number;
    return true;
}

bool str_parse_duration(const char *text, int64_t *ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    uint64_t number;
    const char *unit;
    if (!split_number(text, &number, &unit))
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        int64_t product;
        if (strcmp(unit, units[i].unit) != 0)
            continue;
        if (__builtin_mul_overflow(number, units[i].ms, &product))
            return false;
        *ms = product;
        return true;
    }
    return false;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool str_percent_decode(struct slice s, char *out, size_t out_bytes)
{
    size_t written = 0;
    for (size_t i = 0; i < s.length; i++) {
        char c = s.at[i];
        if (c == '%') {
            int high = s.length - i > 2 ? hex_value(s.at[i + 1]) : -1;
            int low = high >= 0 ? hex_value(s.at[i + 2]) : -1;
            if (low < 0 || (high == 0 && low == 0))
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (written + 1 >= out_bytes)
            return false;
        out[written++] = c;
    }
    if (written >= out_bytes)
        return false;
    out[written] = '\0';
    return true;
}

void str_percent_encode(struct str *s, struct slice value, const char *keep)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < value.length; i++) {
        char c = value.at[i];
        bool is_plain = (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') ||
                        (c && strchr("-._~", c)) || (c && keep && strchr(keep, c));
        if (is_plain) {
            str_add_char(s, c);
        } else {
            unsigned char byte = (unsigned char)c;
            const char escape[3] = {'%', hex[byte >> 4], hex[byte & 15]};
            str_add_bytes(s, escape, sizeof(escape));
        }
    }
}

static int base64_value(char c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

bool str_base64_decode(struct slice s, char *out, size_t out_bytes, size_t *length)
{
    size_t padding = 0, n = 0;
    unsigned bits = 0;
    while (padding < 2 && padding < s.length && s.at[s.length - 1 - padding] == '=')
        padding++;
    if (s.length % 4 != 0 || s.length / 4 * 3 - padding >= out_bytes)
        return false;
    for (size_t i = 0; i < s.length - padding; i++) {
        int value = base64_value(s.at[i]);
        if (value < 0)
            return false;
        bits = (bits << 6 | (unsigned)value) & 0xFFFFFF;
        if (i % 4 > 0)
            out[n++] = (char)(bits >> (6 - i % 4 * 2) & 0xFF);
    }
    if (bits & ((1u << padding * 2) - 1))
        return false; /* another spelling of the same */
    out[n] = '\0';
    *length = n;
    return true;
}
