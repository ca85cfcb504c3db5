/* SPDX-License-Identifier: Apache-2.0
 * First line the size, the rest as Range, Content-Range, If-Range and If-None-Match. */
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "fuzz.h"
#include "oci/range.h"

static void check_set(const struct range_set *set, uint64_t size_bytes)
{
    autostr struct str text = {0};
    struct range_set again = {0};
    uint64_t sum = 0;
    must(set->count >= 1 && set->count <= RANGE_MAX_COUNT);
    for (size_t i = 0; i < set->count; i++) {
        const struct range *r = &set->ranges[i];
        must(r->first <= r->last && r->last < size_bytes);
        if (__builtin_add_overflow(sum, r->last - r->first + 1, &sum))
            sum = UINT64_MAX;
        str_format(&text, "%s%" PRIu64 "-%" PRIu64, i ? "," : "bytes=", r->first, r->last);
        if (sum == UINT64_MAX)
            break;
    }
    must(range_set_bytes(set) == sum);
    if (sum == UINT64_MAX)
        return;
    must(range_parse(slice_of(str_text(&text)), size_bytes, &again) == RANGE_SATISFIABLE);
    must(again.count == set->count);
    must(memcmp(again.ranges, set->ranges, set->count * sizeof(*set->ranges)) == 0);
    range_set_fini(&again);
}

static void check_content(const struct content_range *r)
{
    char text[100];
    struct content_range again = {0};
    must(r->is_unsatisfied ? r->total != UINT64_MAX : r->first <= r->last && r->last < r->total);
    if (r->is_unsatisfied)
        snprintf(text, sizeof(text), "bytes */%" PRIu64, r->total);
    else if (r->total == UINT64_MAX)
        snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/*", r->first, r->last);
    else
        snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, r->first, r->last,
                 r->total);
    must(range_parse_content(slice_of(text), &again));
    must(again.is_unsatisfied == r->is_unsatisfied && again.first == r->first &&
         again.last == r->last && again.total == r->total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char digest[] = "sha256:a", etag[] = "\"sha256:a\"";
    struct slice line = {(const char *)data, size}, header = line;
    struct range_set set = {0};
    struct content_range content = {0};
    uint64_t size_bytes = 10;
    if (slice_cut(line, '\n', &line, &header))
        slice_u64(line, UINT64_MAX, &size_bytes);
    if (range_parse(header, size_bytes, &set) == RANGE_SATISFIABLE)
        check_set(&set, size_bytes);
    else
        must(set.count == 0 && !set.ranges);
    range_set_fini(&set);
    if (range_parse_content(header, &content))
        check_content(&content);
    struct slice value = slice_trim(header);
    must(range_if_range(header, etag) == (value.length == 0 || slice_equals(value, etag)));
    if (slice_equals(value, digest) || slice_equals(value, etag) || slice_equals(value, "*"))
        must(range_none_match(header, digest));
    else if (range_none_match(header, digest))
        must(memmem(header.at, header.length, digest, sizeof(digest) - 1) ||
             memchr(header.at, '*', header.length));
    return 0;
}
