/* SPDX-License-Identifier: Apache-2.0
 * A last position past the end is clamped; a member that begins past it is left out; whatever is
 * malformed makes the whole header mean nothing (RFC 9110 §14.2). */
#include "oci/range.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

/* A position of any length: what does not fit is past every end, which is what clamping needs. */
static bool position(struct slice s, uint64_t *out)
{
    for (size_t i = 0; i < s.length; i++)
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
    if (!slice_u64(s, UINT64_MAX, out))
        *out = UINT64_MAX;
    return s.length > 0;
}

/* "5-9", "5-" or "-9". 1 in *out, 0 unsatisfiable, -1 malformed. */
static int read_member(struct slice member, uint64_t size, struct range *out)
{
    struct slice first_text, last_text;
    uint64_t first, last;
    if (!slice_cut(member, '-', &first_text, &last_text))
        return -1;
    if (first_text.length == 0) {
        if (!position(last_text, &last))
            return -1;
        if (last == 0 || size == 0)
            return 0;
        *out = (struct range){last < size ? size - last : 0, size - 1};
        return 1;
    }
    last = UINT64_MAX;
    if (!position(first_text, &first) || (last_text.length > 0 && !position(last_text, &last)) ||
        last < first)
        return -1;
    if (first >= size)
        return 0;
    *out = (struct range){first, last < size ? last : size - 1};
    return 1;
}

enum range_result range_parse(struct slice header, uint64_t size_bytes, struct range_set *out)
{
    struct slice unit, rest, member;
    struct range_set set = {0};
    size_t asked = 0;
    if (!slice_cut(slice_trim(header), '=', &unit, &rest) || !slice_equals_nocase(unit, "bytes"))
        return RANGE_IGNORE;
    size_t room = 1;
    for (size_t i = 0; i < rest.length; i++)
        room += rest.at[i] == ',';
    if (room > RANGE_MAX_COUNT)
        return RANGE_IGNORE;
    set.ranges = alloc_array(room, sizeof *set.ranges);
    for (bool more = true; more;) {
        more = slice_cut(rest, ',', &member, &rest);
        member = slice_trim(more ? member : rest);
        if (member.length == 0)
            continue; /* empty list members are allowed (RFC 9110 §5.6.1) */
        asked++;
        int found = read_member(member, size_bytes, &set.ranges[set.count]);
        if (found < 0) {
            asked = 0;
            break;
        }
        set.count += (size_t)found;
    }
    if (asked > 0 && set.count > 0) {
        *out = set;
        return RANGE_SATISFIABLE;
    }
    range_set_fini(&set);
    return asked > 0 ? RANGE_UNSATISFIABLE : RANGE_IGNORE;
}

void range_set_fini(struct range_set *s)
{
    free(s->ranges);
    s->ranges = NULL;
    s->count = 0;
}

uint64_t range_set_bytes(const struct range_set *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s->count; i++) {
        uint64_t n = s->ranges[i].last - s->ranges[i].first;
        if (n == UINT64_MAX || sum > UINT64_MAX - n - 1)
            return UINT64_MAX;
        sum += n + 1;
    }
    return sum;
}

bool range_parse_content(struct slice header, struct content_range *out)
{
    struct slice unit, rest, span, total, first, last;
    struct content_range r = {.total = UINT64_MAX};
    if (!slice_cut(slice_trim(header), ' ', &unit, &rest) || !slice_equals_nocase(unit, "bytes") ||
        !slice_cut(slice_trim(rest), '/', &span, &total))
        return false;
    bool has_total = !slice_equals(total, "*");
    if (has_total && !slice_u64(total, UINT64_MAX - 1, &r.total))
        return false;
    r.is_unsatisfied = slice_equals(span, "*");
    if (r.is_unsatisfied && !has_total)
        return false; /* would say nothing at all */
    if (!r.is_unsatisfied &&
        (!slice_cut(span, '-', &first, &last) || !slice_u64(first, UINT64_MAX - 1, &r.first) ||
         !slice_u64(last, UINT64_MAX - 1, &r.last) || r.last < r.first ||
         (has_total && r.last >= r.total)))
        return false;
    *out = r;
    return true;
}

bool range_if_range(struct slice header, const char *etag)
{
    struct slice value = slice_trim(header);
    return value.length == 0 || slice_equals(value, etag);
}

bool range_none_match(struct slice header, const char *digest)
{
    struct slice tag, rest = header;
    for (bool more = true; more;) {
        more = slice_cut(rest, ',', &tag, &rest);
        tag = slice_trim(more ? tag : rest);
        if (slice_equals(tag, "*"))
            return true;
        if (slice_starts(tag, "W/"))
            tag = slice_sub(tag, 2, tag.length);
        if (tag.length >= 2 && tag.at[0] == '"' && tag.at[tag.length - 1] == '"')
            tag = slice_sub(tag, 1, tag.length - 2);
        if (slice_equals(tag, digest))
            return true;
    }
    return false;
}
