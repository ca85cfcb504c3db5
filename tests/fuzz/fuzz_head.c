/* SPDX-License-Identifier: Apache-2.0
 * Lines of bytes as the headers of an upstream's answer. */
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "fetch/head.h"
#include "fuzz.h"

static void check_text(const char *text, size_t room)
{
    size_t length = strnlen(text, room);
    must(length < room && !memchr(text, '\n', length));
}

static void check_fields(const struct head *h)
{
    check_text(h->content_type, sizeof h->content_type);
    check_text(h->content_encoding, sizeof h->content_encoding);
    check_text(h->digest, sizeof h->digest);
    check_text(h->location, sizeof h->location);
    check_text(h->link, sizeof h->link);
    must(h->content_length >= -1 && h->rate_limit >= -1 && h->rate_remaining >= -1);
    must(h->retry_after_s >= 0 && h->retry_after_s <= 7 * 86400);
    const struct content_range *r = &h->content_range;
    must(!h->has_content_range || r->is_unsatisfied || (r->first <= r->last && r->last < r->total));
    must(h->challenge.scheme != CHALLENGE_BEARER || h->challenge.realm[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct head h;
    struct error e = {0};
    struct slice line, rest = {(const char *)data, size};
    int64_t stated = -1;
    head_init(&h);
    for (bool more = true; more;) {
        more = slice_cut(rest, '\n', &line, &rest);
        if (head_read_line(&h, more ? line : rest, &e) < 0) {
            must(e.kind == ERR_UPSTREAM && h.content_length == stated);
            break;
        }
        must(stated < 0 || h.content_length == stated);
        stated = h.content_length;
        check_fields(&h);
    }
    head_end(&h);
    must(!h.is_chunked || h.content_length == -1);
    check_fields(&h);
    return 0;
}
