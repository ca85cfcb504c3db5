/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the map beside a partial file: a hand may have written it. */
#include <string.h>

#include "base/auto.h"
#include "base/str.h"
#include "cache/segments.h"
#include "fuzz.h"

/* Sorted, apart, not empty, and none behind the stated size. */
static void check_order(const struct segments *s, int64_t size)
{
    uint64_t last = 0;
    for (size_t i = 0; i < s->count; i++) {
        must(s->parts[i].first < s->parts[i].end);
        must(i == 0 || s->parts[i].first > last);
        last = s->parts[i].end;
    }
    must(last == segments_end(s));
    must(size < 0 || last <= (uint64_t)size);
}

static void check_again(const struct segments *s, int64_t size)
{
    autostr struct str text = {0};
    struct segments again = {0};
    int64_t said = 0;
    segments_print(s, size, &text);
    must(segments_read(&again, str_text(&text), &said));
    must(said == size && again.count == s->count);
    must(memcmp(again.parts, s->parts, s->count * sizeof *s->parts) == 0);
    segments_subtract(&again, s);
    must(again.count == 0);
    segments_fini(&again);
}

/* Holes and parts together are the whole, each byte once. */
static void check_holes(const struct segments *s, uint64_t size)
{
    uint64_t at = 0, offset, length, missing = 0;
    while (segments_hole(s, at, size, &offset, &length)) {
        must(offset >= at && length > 0 && length <= size - offset);
        must(segments_from(s, offset) == 0);
        missing += length;
        at = offset + length;
    }
    must(missing + segments_sum(s) == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    autofree char *text = slice_dup((struct slice){(const char *)data, size});
    struct segments s = {0};
    int64_t stated = -1;
    if (segments_read(&s, text, &stated)) {
        must(s.count > 0 && stated >= -1);
        check_order(&s, stated);
        check_again(&s, stated);
        if (stated >= 0)
            check_holes(&s, (uint64_t)stated);
        segments_thin(&s, 3);
        must(s.count <= 3);
        check_order(&s, stated);
    } else {
        must(s.count == 0);
    }
    segments_fini(&s);
    return 0;
}
