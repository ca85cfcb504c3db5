/* SPDX-License-Identifier: Apache-2.0
 * Tags are often less than versions: "7", "7.4", "v1.2". What is missing counts as 0 in their
 * order; in a range it stands for all that begins so. */
#include "oci/tag_pattern.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "oci/reference.h"

enum { PARTS_MAX = 4, DIGITS_MAX = 18, PATTERN_MAX = 256 };

struct version {
    uint64_t parts[PARTS_MAX];
    unsigned count;
    struct slice pre; /* after the "-"; empty: a release */
};

/* "v" and numbers with dots between, then the end or "-" and something. */
static bool read_version(struct slice text, struct version *v)
{
    size_t at = text.length > 1 && text.at[0] == 'v';
    *v = (struct version){0};
    for (;;) {
        size_t digits = 0;
        while (at + digits < text.length && isdigit((unsigned char)text.at[at + digits]))
            digits++;
        if (digits > DIGITS_MAX || v->count == PARTS_MAX ||
            !slice_u64(slice_sub(text, at, digits), UINT64_MAX, &v->parts[v->count]))
            return false;
        v->count++;
        at += digits;
        if (at == text.length)
            return true;
        if (text.at[at] == '-') {
            v->pre = slice_sub(text, at + 1, text.length);
            return v->pre.length > 0;
        }
        if (text.at[at++] != '.')
            return false;
    }
}

static int compare_numbers(const struct version *a, const struct version *b, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (a->parts[i] != b->parts[i])
            return a->parts[i] < b->parts[i] ? -1 : 1;
    return 0;
}

/* Digits as numbers, all else as bytes: "rc2" before "rc10". */
static int compare_natural(struct slice a, struct slice b)
{
    size_t i = 0, j = 0;
    while (i < a.length && j < b.length) {
        size_t m = i, n = j;
        while (m < a.length && isdigit((unsigned char)a.at[m]))
            m++;
        while (n < b.length && isdigit((unsigned char)b.at[n]))
            n++;
        if (m == i || n == j) {
            if (a.at[i] != b.at[j])
                return (unsigned char)a.at[i] < (unsigned char)b.at[j] ? -1 : 1;
            i++, j++;
            continue;
        }
        while (i + 1 < m && a.at[i] == '0')
            i++;
        while (j + 1 < n && b.at[j] == '0')
            j++;
        int order = m - i != n - j ? (m - i < n - j ? -1 : 1) : memcmp(a.at + i, b.at + j, m - i);
        if (order != 0)
            return order;
        i = m, j = n;
    }
    return i < a.length ? 1 : j < b.length ? -1 : 0;
}

static int compare_versions(const struct version *a, const struct version *b)
{
    int order = compare_numbers(a, b, PARTS_MAX);
    if (order != 0)
        return order;
    if (!a->pre.length != !b->pre.length)
        return a->pre.length ? -1 : 1;
    return compare_natural(a->pre, b->pre);
}

int tag_compare(const char *a, const char *b)
{
    struct version x, y;
    bool is_x = read_version(slice_of(a), &x), is_y = read_version(slice_of(b), &y);
    if (is_x != is_y)
        return is_x ? 1 : -1;
    int order = is_x ? compare_versions(&x, &y) : 0;
    if (order == 0 && is_x && x.count != y.count)
        return x.count < y.count ? -1 : 1; /* "7.0" says more than "7" */
    return order != 0 ? order : compare_natural(slice_of(a), slice_of(b));
}

/* --- ranges ----------------------------------------------------------------------------------- */

enum op { OP_EQUAL, OP_UNEQUAL, OP_LESS, OP_UP_TO, OP_MORE, OP_FROM, OP_CARET, OP_TILDE };

struct term {
    enum op op;
    struct version version;
};

static const struct {
    const char *text; /* the longer ones first */
    enum op op;
} ops[] = {{">=", OP_FROM}, {"<=", OP_UP_TO}, {"!=", OP_UNEQUAL}, {"==", OP_EQUAL}, {">", OP_MORE},
           {"<", OP_LESS},  {"=", OP_EQUAL},  {"^", OP_CARET},    {"~", OP_TILDE}};

static struct slice skip(struct slice s)
{
    while (s.length > 0 && strchr(" \t,", s.at[0]))
        s = slice_sub(s, 1, s.length);
    return s;
}

/* 1 a term, and *rest behind it; 0 nothing more; -1 not understood. */
static int read_term(struct slice *rest, struct term *out)
{
    struct slice s = skip(*rest);
    size_t length = 0, found = 0;
    if (s.length == 0)
        return 0;
    while (found < sizeof ops / sizeof *ops && !slice_starts(s, ops[found].text))
        found++;
    if (found == sizeof ops / sizeof *ops)
        return -1;
    out->op = ops[found].op;
    s = skip(slice_sub(s, strlen(ops[found].text), s.length));
    while (length < s.length && !strchr(" \t,", s.at[length]))
        length++;
    *rest = slice_sub(s, length, s.length);
    return read_version(slice_sub(s, 0, length), &out->version) ? 1 : -1;
}

/* How many of the leading numbers must be the same: of ^ the first that is not 0, of ~ two. */
static unsigned fixed_parts(const struct term *t)
{
    unsigned n = 0;
    if (t->op == OP_TILDE)
        return t->version.count < 2 ? t->version.count : 2;
    while (n + 1 < t->version.count && t->version.parts[n] == 0)
        n++;
    return n + 1;
}

static bool holds(const struct term *t, const struct version *v)
{
    const struct version *w = &t->version;
    int order = compare_versions(v, w);
    bool begins_so = w->pre.length ? order == 0 : compare_numbers(v, w, w->count) == 0;
    switch (t->op) {
    case OP_EQUAL:
        return begins_so;
    case OP_UNEQUAL:
        return !begins_so;
    case OP_LESS:
        return order < 0;
    case OP_UP_TO:
        return order < 0 || begins_so;
    case OP_MORE:
        return order > 0 && !begins_so;
    case OP_FROM:
        return order >= 0;
    case OP_CARET:
    case OP_TILDE:
        return order >= 0 && compare_numbers(v, w, fixed_parts(t)) == 0;
    }
    return false;
}

static bool is_range(struct slice pattern)
{
    return pattern.length > 0 && strchr("<>=!^~", pattern.at[0]) != NULL;
}

/* --- patterns --------------------------------------------------------------------------------- */

bool tag_pattern_looks_like(struct slice text)
{
    for (size_t i = 0; i < text.length; i++)
        if (strchr("*?[]<>=!^~, ", text.at[i]))
            return true;
    return false;
}

int tag_pattern_check(struct slice text, struct error *e)
{
    struct term t;
    struct slice rest = text;
    int got = 1;
    int shown = text.length > 80 ? 80 : (int)text.length;
    while (is_range(text) && !memchr(text.at, 0, text.length) && got == 1)
        got = read_term(&rest, &t);
    if (text.length == 0 || text.length >= PATTERN_MAX || got < 0 ||
        memchr(text.at, 0, text.length))
        return error_set(e, ERR_TAG_INVALID, "\"%.*s\" is no pattern like \"1.27.*\" or \">=7 <8\"",
                         shown, text.at);
    for (size_t i = 0; i < text.length && !is_range(text); i++)
        if (!isalnum((unsigned char)text.at[i]) && !strchr("._-*?[]!^", text.at[i]))
            return error_set(e, ERR_TAG_INVALID, "\"%.*s\" is neither a tag nor a pattern of tags",
                             shown, text.at);
    return 0;
}

bool tag_pattern_matches(struct slice pattern, const char *tag)
{
    struct term t;
    struct version v;
    char text[PATTERN_MAX];
    bool is_version = read_version(slice_of(tag), &v);
    if (is_version && v.pre.length > 0 && !memchr(pattern.at, '-', pattern.length))
        return false;
    if (!is_range(pattern))
        return slice_copy(pattern, text, sizeof text) && fnmatch(text, tag, 0) == 0;
    while (is_version && read_term(&pattern, &t) == 1)
        if (!holds(&t, &v))
            return false;
    return is_version;
}
