/* SPDX-License-Identifier: Apache-2.0
 * Responses are made anew for each request over shared bytes: each carries its own X-Request-Id,
 * and that costs about a microsecond (docs/decisions.md). Nothing is ever compressed and nobody is
 * redirected. */
#include "serve/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "mirror/answer.h"
#include "oci/problem.h"
#include "serve/request.h"
#include "serve/tail.h"

static void add(struct MHD_Response *response, const char *name, const char *value)
{
    MHD_add_response_header(response, name, value);
}

static enum MHD_Result queue(struct request *r, unsigned status, struct MHD_Response *response,
                             uint64_t body_bytes)
{
    add(response, "Docker-Distribution-Api-Version", "registry/2.0");
    add(response, "X-Request-Id", r->id);
    if (r->ns[0])
        add(response, "OCI-Namespace", r->ns);
    r->status = status;
    r->body_bytes = r->is_head ? 0 : body_bytes;
    r->answered_us = clock_mono_us();
    enum MHD_Result result = MHD_queue_response(r->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static struct MHD_Response *from_str(struct str *text, size_t *length)
{
    *length = text->length;
    return MHD_create_response_from_buffer(*length, str_take(text), MHD_RESPMEM_MUST_FREE);
}

enum MHD_Result reply_text(struct request *r, unsigned status, const char *content_type,
                           struct str *text)
{
    size_t length;
    struct MHD_Response *response = from_str(text, &length);
    add(response, "Content-Type", content_type);
    return queue(r, status, response, length);
}

enum MHD_Result reply_error(struct request *r, const struct error *e)
{
    size_t length;
    autostr struct str body = {0};
    problem_print(e, &body);
    slice_copy(slice_sub(slice_of(e->text), 0, sizeof r->error - 1), r->error, sizeof r->error);
    struct MHD_Response *response = from_str(&body, &length);
    unsigned status = (unsigned)error_http_status(e->kind);
    add(response, "Content-Type", "application/json");
    add(response, "Cache-Control", "no-cache");
    if (status == 401)
        add(response, "WWW-Authenticate", "Basic realm=\"tranship\", charset=\"UTF-8\"");
    if (status == 405)
        add(response, "Allow", r->route.kind == ROUTE_CONTROL ? "POST" : "GET, HEAD");
    if (status == 503) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", e->retry_after_s > 0 ? e->retry_after_s : 5);
        add(response, "Retry-After", seconds);
    }
    if (e->upstream_status > 0 && r->route.kind != ROUTE_UNKNOWN) {
        char cache[96];
        snprintf(cache, sizeof cache, "tranship; fwd=uri-miss; fwd-status=%d", e->upstream_status);
        add(response, "Cache-Status", cache);
    }
    return queue(r, status, response, length);
}

static void add_cache_headers(struct request *r, struct MHD_Response *response,
                              const struct answer *a)
{
    char text[128] = "tranship";
    /* What is old is so for those who joined too. */
    enum cache_outcome cache = r->joined && a->cache != CACHE_STALE ? CACHE_COLLAPSED : a->cache;
    if (cache == CACHE_STORED && a->kind == ANSWER_FLOW && flow_is_passing(a->flow))
        cache = CACHE_FORWARDED;
    switch (cache) {
    case CACHE_HIT:
        snprintf(text, sizeof text, "tranship; hit");
        break;
    case CACHE_STORED:
        snprintf(text, sizeof text, "tranship; fwd=uri-miss; stored");
        break;
    case CACHE_COLLAPSED:
        snprintf(text, sizeof text, "tranship; fwd=uri-miss; collapsed");
        break;
    case CACHE_FORWARDED:
        snprintf(text, sizeof text, "tranship; fwd=uri-miss");
        break;
    case CACHE_REVALIDATED:
        snprintf(text, sizeof text, "tranship; fwd=stale; fwd-status=200");
        break;
    case CACHE_STALE:
        if (a->upstream_status > 0)
            snprintf(text, sizeof text, "tranship; fwd=stale; fwd-status=%d; detail=served-stale",
                     a->upstream_status);
        else
            snprintf(text, sizeof text, "tranship; fwd=stale; detail=served-stale");
        break;
    case CACHE_NONE:
        break;
    }
    r->cache = cache;
    add(response, "Cache-Status", text);
    if (a->checked_at_ms > 0) {
        int64_t age_s = clock_wall_s() - a->checked_at_ms / 1000;
        snprintf(text, sizeof text, "%" PRId64, age_s > 0 ? age_s : 0);
        add(response, "Age", text);
        if (cache == CACHE_STALE) {
            snprintf(text, sizeof text,
                     "299 - \"stale: the upstream could not confirm this, last confirmed %" PRId64
                     " s ago\"",
                     age_s > 0 ? age_s : 0);
            add(response, "Warning", text);
        }
    } else if (cache == CACHE_STALE) {
        add(response, "Warning", "299 - \"stale: the upstream could not confirm this\"");
    }
}

enum MHD_Result reply_listing(struct request *r, const struct answer *a, const char *content_type,
                              const char *link, int is_filtered, struct str *text)
{
    size_t length;
    struct MHD_Response *response = from_str(text, &length);
    add(response, "Content-Type", content_type);
    add(response, "Cache-Control", "no-cache");
    if (link)
        add(response, "Link", link);
    if (is_filtered)
        add(response, "OCI-Filters-Applied", "artifactType");
    if (a)
        add_cache_headers(r, response, a);
    return queue(r, 200, response, length);
}

/* --- objects ---------------------------------------------------------------------------------- */

struct object {
    const struct answer *answer;
    uint64_t size_bytes;
    const char *content_type;
    char digest[DIGEST_TEXT_MAX], etag[DIGEST_TEXT_MAX + 2];
};

static void describe(struct request *r, const struct answer *a, struct object *o)
{
    bool is_manifest = r->route.kind == ROUTE_MANIFEST;
    const char *type = a->content ? a->content->media_type : a->media_type;
    o->answer = a;
    o->size_bytes = a->content ? a->content->size_bytes : a->size_bytes;
    if (a->kind == ANSWER_FLOW)
        flow_size(a->flow, &o->size_bytes); /* told, or the flow has ended: it stands */
    o->content_type = is_manifest && type[0] ? type : "application/octet-stream";
    digest_print(&a->digest, o->digest);
    snprintf(o->etag, sizeof o->etag, "\"%s\"", o->digest);
}

static enum MHD_Result queue_object(struct request *r, const struct object *o, unsigned status,
                                    struct MHD_Response *response, const char *content_type,
                                    uint64_t length)
{
    bool by_tag = r->route.tag[0] != 0;
    if (status != 304)
        add(response, "Content-Type", content_type);
    add(response, "Docker-Content-Digest", o->digest);
    add(response, "ETag", o->etag);
    add(response, "Cache-Control", by_tag ? "no-cache" : "max-age=31536000");
    if (r->route.kind == ROUTE_BLOB)
        add(response, "Accept-Ranges", "bytes");
    add_cache_headers(r, response, o->answer);
    return queue(r, status, response, length);
}

static void content_done(void *cls)
{
    content_end_read(cls);
}

static struct MHD_Response *body_of(struct request *r, const struct object *o,
                                    const struct range *range)
{
    const struct answer *a = o->answer;
    uint64_t length = range->last - range->first + 1, total;
    struct range_set one = {.count = 1, .ranges = (struct range *)(uintptr_t)range};
    if (a->content && !(r->desk->is_https && content_is_mapped(a->content)))
        return MHD_create_response_from_buffer_with_free_callback_cls(
            (size_t)length, (char *)(uintptr_t)a->content->bytes + range->first, content_done,
            content_read(a->content));
    return tail_response(r, a->content, a->flow, &one, o->size_bytes, o->content_type, NULL,
                         &total);
}

static ssize_t no_body(void *cls, uint64_t position, char *into, size_t max)
{
    (void)cls, (void)position, (void)into, (void)max;
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

static enum MHD_Result reply_whole(struct request *r, const struct object *o)
{
    struct MHD_Response *response;
    struct range all = {0, o->size_bytes - 1};
    if (r->is_head)
        response = MHD_create_response_from_callback(o->size_bytes, 1024, no_body, NULL, NULL);
    else if (o->size_bytes == 0)
        response =
            MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    else
        response = body_of(r, o, &all);
    return queue_object(r, o, 200, response, o->content_type, o->size_bytes);
}

static enum MHD_Result reply_unsatisfiable(struct request *r, const struct object *o)
{
    size_t length;
    char text[64];
    struct error e;
    autostr struct str body = {0};
    error_set(&e, ERR_RANGE_INVALID, "the blob has %" PRIu64 " bytes", o->size_bytes);
    problem_print(&e, &body);
    struct MHD_Response *response = from_str(&body, &length);
    snprintf(text, sizeof text, "bytes */%" PRIu64, o->size_bytes);
    add(response, "Content-Range", text);
    add(response, "Content-Type", "application/json");
    return queue(r, 416, response, length);
}

static enum MHD_Result reply_ranges(struct request *r, const struct object *o,
                                    const struct range_set *set)
{
    char text[128];
    const struct range *first = &set->ranges[0];
    if (set->count == 1) {
        struct MHD_Response *response = body_of(r, o, first);
        snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first->first,
                 first->last, o->size_bytes);
        add(response, "Content-Range", text);
        return queue_object(r, o, 206, response, o->content_type, first->last - first->first + 1);
    }
    uint64_t length;
    struct MHD_Response *response = tail_response(r, o->answer->content, o->answer->flow, set,
                                                  o->size_bytes, o->content_type, r->id, &length);
    snprintf(text, sizeof text, "multipart/byteranges; boundary=%s", r->id);
    return queue_object(r, o, 206, response, text, length);
}

enum MHD_Result reply_object(struct request *r, const struct answer *a)
{
    struct object o = {0};
    describe(r, a, &o);
    const char *none_match = request_header(r, "If-None-Match");
    if (none_match && range_none_match(slice_of(none_match), o.digest))
        return queue_object(
            r, &o, 304,
            MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT),
            o.content_type, 0);
    const char *range = request_header(r, "Range");
    if (!range || r->is_head || r->route.kind != ROUTE_BLOB ||
        !range_if_range(slice_of(request_header(r, "If-Range")), o.etag))
        return reply_whole(r, &o);
    struct range_set set = {0};
    enum MHD_Result result;
    enum range_result verdict = range_parse(slice_of(range), o.size_bytes, &set);
    if (verdict == RANGE_UNSATISFIABLE)
        result = reply_unsatisfiable(r, &o);
    else if (verdict == RANGE_IGNORE || (set.count > 1 && range_set_bytes(&set) >= o.size_bytes))
        result = reply_whole(r, &o);
    else
        result = reply_ranges(r, &o, &set);
    range_set_fini(&set);
    return result;
}
