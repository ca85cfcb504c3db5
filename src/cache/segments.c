/* SPDX-License-Identifier: Apache-2.0
 * A blob that comes in order has one part, one with several transfers as many: a plain array. */
#include "cache/segments.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/str.h"

#define HEAD "tranship-map 1 "
enum { READ_MAX = 4096 };

void segments_fini(struct segments *s)
{
    free(s->parts);
    *s = (struct segments){0};
}

void segments_add(struct segments *s, uint64_t first, uint64_t end)
{
    size_t i = 0;
    while (i < s->count && s->parts[i].end < first)
        i++;
    size_t j = i;
    while (j < s->count && s->parts[j].first <= end) {
        first = first < s->parts[j].first ? first : s->parts[j].first;
        end = end > s->parts[j].end ? end : s->parts[j].end;
        j++;
    }
    if (j == i) {
        if (s->count == s->room) {
            s->room = s->room ? s->room * 2 : 4;
            s->parts = alloc_grow(s->parts, s->room, sizeof *s->parts);
        }
        memmove(s->parts + i + 1, s->parts + i, (s->count - i) * sizeof *s->parts);
        s->count++;
    } else {
        memmove(s->parts + i + 1, s->parts + j, (s->count - j) * sizeof *s->parts);
        s->count -= j - i - 1;
    }
    s->parts[i] = (struct segment){first, end};
}

static void take_out(struct segments *s, size_t i)
{
    memmove(s->parts + i, s->parts + i + 1, (s->count - i - 1) * sizeof *s->parts);
    s->count--;
}

void segments_remove(struct segments *s, uint64_t first, uint64_t end)
{
    for (size_t i = s->count; i-- > 0;) {
        struct segment x = s->parts[i];
        if (end <= x.first || x.end <= first)
            continue;
        take_out(s, i);
        if (x.first < first)
            segments_add(s, x.first, first);
        if (end < x.end)
            segments_add(s, end, x.end);
    }
}

void segments_subtract(struct segments *s, const struct segments *other)
{
    for (size_t i = 0; i < other->count; i++)
        segments_remove(s, other->parts[i].first, other->parts[i].end);
}

bool segments_meet(const struct segments *s, const struct segments *other)
{
    for (size_t i = 0; i < other->count; i++)
        if (segments_next(s, other->parts[i].first) < other->parts[i].end)
            return true;
    return false;
}

void segments_thin(struct segments *s, size_t most)
{
    while (s->count > most && s->count > 1) {
        size_t nearest = 1;
        for (size_t i = 2; i < s->count; i++)
            if (s->parts[i].first - s->parts[i - 1].end <
                s->parts[nearest].first - s->parts[nearest - 1].end)
                nearest = i;
        s->parts[nearest - 1].end = s->parts[nearest].end;
        take_out(s, nearest);
    }
}

uint64_t segments_next(const struct segments *s, uint64_t from)
{
    for (size_t i = 0; i < s->count; i++)
        if (from < s->parts[i].end)
            return from > s->parts[i].first ? from : s->parts[i].first;
    return UINT64_MAX;
}

uint64_t segments_from(const struct segments *s, uint64_t offset)
{
    for (size_t i = 0; i < s->count; i++)
        if (offset >= s->parts[i].first && offset < s->parts[i].end)
            return s->parts[i].end - offset;
    return 0;
}

uint64_t segments_sum(const struct segments *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s->count; i++)
        sum += s->parts[i].end - s->parts[i].first;
    return sum;
}

uint64_t segments_end(const struct segments *s)
{
    return s->count > 0 ? s->parts[s->count - 1].end : 0;
}

bool segments_hole(const struct segments *s, uint64_t from, uint64_t size, uint64_t *offset,
                   uint64_t *length)
{
    uint64_t at = from, end = size;
    for (size_t i = 0; i < s->count; i++) {
        if (at < s->parts[i].first) {
            end = s->parts[i].first;
            break;
        }
        if (at < s->parts[i].end)
            at = s->parts[i].end;
    }
    if (at >= end)
        return false;
    *offset = at;
    *length = end == UINT64_MAX ? UINT64_MAX : end - at;
    return true;
}

void segments_print(const struct segments *s, int64_t size, struct str *out)
{
    str_format(out, HEAD "%" PRId64 "\n", size);
    for (size_t i = 0; i < s->count; i++)
        str_format(out, "%" PRIu64 " %" PRIu64 "\n", s->parts[i].first, s->parts[i].end);
}

/* "-1" or a number. */
static bool read_size(struct slice text, int64_t *size)
{
    uint64_t number = 0;
    bool is_unknown = slice_equals(text, "-1");
    if (!is_unknown && !slice_u64(text, INT64_MAX, &number))
        return false;
    *size = is_unknown ? -1 : (int64_t)number;
    return true;
}

static bool read_part(struct slice line, uint64_t most, struct segment *out)
{
    struct slice first, end;
    return slice_cut(line, ' ', &first, &end) && slice_u64(first, most, &out->first) &&
           slice_u64(end, most, &out->end) && out->first < out->end;
}

static bool read_parts(struct slice text, int64_t *size, struct segment *parts, size_t *count)
{
    struct slice line;
    size_t head = strlen(HEAD);
    if (!slice_starts(text, HEAD) || !slice_cut(text, '\n', &line, &text) ||
        !read_size(slice_sub(line, head, line.length), size))
        return false;
    uint64_t last = 0, most = *size < 0 ? INT64_MAX : (uint64_t)*size;
    for (*count = 0; text.length > 0; ++*count) {
        struct segment s;
        if (*count == READ_MAX || !slice_cut(text, '\n', &line, &text) ||
            !read_part(line, most, &s) || s.first < last)
            return false;
        last = s.end;
        parts[*count] = s;
    }
    return *count > 0;
}

bool segments_read(struct segments *s, const char *text, int64_t *size)
{
    size_t count = 0;
    autofree struct segment *parts = alloc_array(READ_MAX, sizeof *parts);
    if (!read_parts(slice_of(text), size, parts, &count))
        return false;
    for (size_t i = 0; i < count; i++)
        segments_add(s, parts[i].first, parts[i].end);
    return true;
}
