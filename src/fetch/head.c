/* SPDX-License-Identifier: Apache-2.0
 * Each header is looked at by its name; of those that may stand there once, the last counts. */
#include "fetch/head.h"

#include <curl/curl.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"

enum { RETRY_MAX_S = 86400 * 7 };

static void copy_value(struct slice value, char *out, size_t room)
{
    if (!slice_copy(value, out, room))
        out[0] = 0;
}

static int read_retry_after(struct slice value)
{
    uint64_t seconds;
    char text[64];
    if (slice_u64(value, RETRY_MAX_S, &seconds))
        return (int)seconds;
    if (!slice_copy(value, text, sizeof text))
        return 0;
    time_t at = curl_getdate(text, NULL);
    int64_t in = at < 0 ? 0 : (int64_t)at - clock_wall_s();
    return in > 0 && in < RETRY_MAX_S ? (int)in : 0;
}

static int64_t read_rate(struct slice value)
{
    struct slice number = value, window;
    uint64_t n;
    slice_cut(value, ';', &number, &window);
    return slice_u64(slice_trim(number), INT64_MAX, &n) ? (int64_t)n : -1;
}

/* Two lengths that differ: nobody can tell where the body ends. */
static int read_length(struct head *h, struct slice value, struct error *e)
{
    uint64_t n;
    if (!slice_u64(value, INT64_MAX, &n) ||
        (h->content_length >= 0 && h->content_length != (int64_t)n))
        return error_set(e, ERR_UPSTREAM, "states a length that makes no sense");
    h->content_length = (int64_t)n;
    return 0;
}

static void read_header(struct head *h, struct slice name, struct slice value)
{
    if (slice_equals_nocase(name, "transfer-encoding")) {
        h->is_chunked = true;
    } else if (slice_equals_nocase(name, "content-type")) {
        copy_value(value, h->content_type, sizeof h->content_type);
    } else if (slice_equals_nocase(name, "content-encoding")) {
        copy_value(value, h->content_encoding, sizeof h->content_encoding);
    } else if (slice_equals_nocase(name, "docker-content-digest")) {
        copy_value(value, h->digest, sizeof h->digest);
    } else if (slice_equals_nocase(name, "location")) {
        copy_value(value, h->location, sizeof h->location);
    } else if (slice_equals_nocase(name, "link")) {
        copy_value(value, h->link, sizeof h->link);
    } else if (slice_equals_nocase(name, "content-range")) {
        h->has_content_range = range_parse_content(value, &h->content_range);
    } else if (slice_equals_nocase(name, "retry-after")) {
        h->retry_after_s = read_retry_after(value);
    } else if (slice_equals_nocase(name, "ratelimit-limit")) {
        h->rate_limit = read_rate(value);
    } else if (slice_equals_nocase(name, "ratelimit-remaining")) {
        h->rate_remaining = read_rate(value);
    } else if (slice_equals_nocase(name, "www-authenticate")) {
        challenge_read(value, &h->challenge);
    }
}

void head_init(struct head *h)
{
    memset(h, 0, sizeof *h);
    h->content_length = h->rate_limit = h->rate_remaining = -1;
}

int head_read_line(struct head *h, struct slice line, struct error *e)
{
    struct slice name, value;
    while (line.length > 0 &&
           (line.at[line.length - 1] == '\n' || line.at[line.length - 1] == '\r'))
        line.length--;
    if (!slice_cut(line, ':', &name, &value))
        return 0;
    value = slice_trim(value);
    if (slice_equals_nocase(name, "content-length"))
        return read_length(h, value, e);
    read_header(h, name, value);
    return 0;
}

void head_end(struct head *h)
{
    if (h->is_chunked)
        h->content_length = -1; /* what ends the body is not what was stated */
}
