/* SPDX-License-Identifier: Apache-2.0
 * The life of a request, and waiting without a thread: the connection is suspended first, then
 * whoever will know is asked to wake it; if it knows already, the connection is resumed at once. No
 * lock is held around either.
 */
#include "serve/request.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/str.h"
#include "serve/reply.h"
#include "serve/tally.h"
#include "upstream/upstream.h"

/* Up to this size a blob is proven before its answer begins: an error then is an error, not a cut
 * connection. */
enum { PROVEN_FIRST_BYTES = 64 << 10, COMMAND_MAX_BYTES = 1 << 20 };

void desk_resume(const struct desk *d, struct MHD_Connection *c)
{
    const uint64_t one = 1;
    int fd = d->wake;
    MHD_resume_connection(c);
    (void)!write(fd, &one, sizeof one);
}

static void wake(struct waiter *w)
{
    struct request *r = (struct request *)((char *)w - offsetof(struct request, waiter));
    desk_resume(r->desk, r->connection);
}

bool request_await_answer(struct request *r)
{
    if (answer_is_done(r->answer))
        return false;
    r->waiter.wake = wake;
    MHD_suspend_connection(r->connection);
    if (!answer_await(r->answer, &r->waiter))
        desk_resume(r->desk, r->connection);
    return true;
}

bool request_await_flow(struct request *r)
{
    uint64_t size;
    struct flow *f = r->answer->flow;
    bool is_ended = flow_state(f) >= FLOW_VERIFIED, has_size = flow_size(f, &size);
    if (is_ended || (has_size && size > PROVEN_FIRST_BYTES && flow_tell_size(f, &size)))
        return false;
    r->waiter.wake = wake;
    MHD_suspend_connection(r->connection);
    if (!flow_await(f, has_size ? FLOW_END : FLOW_HEAD, &r->waiter))
        desk_resume(r->desk, r->connection);
    return true;
}

bool request_await_end(struct request *r)
{
    if (flow_state(r->answer->flow) >= FLOW_VERIFIED)
        return false;
    r->waiter.wake = wake;
    MHD_suspend_connection(r->connection);
    if (!flow_await(r->answer->flow, FLOW_END, &r->waiter))
        desk_resume(r->desk, r->connection);
    return true;
}

bool request_join_flow(struct request *r)
{
    if (!r->is_reader && !r->is_head)
        r->is_reader = flow_join(r->answer->flow, &r->reader, 0);
    return r->is_reader || r->is_head;
}

void request_leave_flow(struct request *r)
{
    if (r->is_reader)
        flow_leave(r->answer->flow, &r->reader);
    r->is_reader = false;
}

const char *request_argument(const struct request *r, const char *key)
{
    return MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, key);
}

bool request_argument_decoded(const struct request *r, const char *key, char *out, size_t out_bytes)
{
    const char *value = request_argument(r, key);
    return value && str_percent_decode(slice_of(value), out, out_bytes);
}

const char *request_header(const struct request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

/* --- from the first header to the log line ---------------------------------------------------- */

struct request *request_new(struct MHD_Connection *c, const struct desk *d, uint64_t id,
                            const char *method, const char *target)
{
    struct request *r = alloc_zero(sizeof *r);
    r->connection = c;
    r->desk = d;
    r->began_us = clock_mono_us();
    r->cache = CACHE_NONE;
    r->is_head = strcmp(method, "HEAD") == 0;
    r->target = slice_dup(slice_sub(slice_of(target), 0, 1024));
    snprintf(r->id, sizeof r->id, "%016llx", (unsigned long long)id);
    slice_copy(slice_sub(slice_of(method), 0, sizeof r->method - 1), r->method, sizeof r->method);
    tally_begin(d->tally);
    return r;
}

static enum MHD_Result refuse(struct request *r, enum error_kind kind, const char *text)
{
    struct error e;
    error_set(&e, kind, "%s", text);
    return reply_error(r, &e);
}

struct header_counts {
    unsigned framing, host;
};

static enum MHD_Result count_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    struct header_counts *n = cls;
    (void)kind, (void)value;
    n->framing +=
        strcasecmp(name, "Content-Length") == 0 || strcasecmp(name, "Transfer-Encoding") == 0;
    n->host += strcasecmp(name, "Host") == 0;
    return MHD_YES;
}

/* What another server on the way could read otherwise: where the body ends, so that what follows is
 * another request (RFC 9112 §6.3), or which host is meant (§3.2). NULL: nothing. */
static const char *ambiguity(struct MHD_Connection *c)
{
    struct header_counts n = {0, 0};
    MHD_get_connection_values(c, MHD_HEADER_KIND, count_header, &n);
    return n.framing > 1 ? "the request states the length of its body twice"
           : n.host > 1  ? "the request names two hosts"
                         : NULL;
}

enum MHD_Result request_admit(struct request *r)
{
    const char *doubt = ambiguity(r->connection);
    if (doubt)
        return refuse(r, ERR_USAGE, doubt);
    bool is_command =
        strcmp(r->method, "POST") == 0 && slice_starts(slice_of(r->target), "/control/");
    if (is_command && !r->desk->is_local)
        return refuse(r, ERR_NOT_FOUND, "there is nothing at this path");
    r->takes_body = is_command;
    if (!is_command && !r->is_head && strcmp(r->method, "GET") != 0)
        return refuse(r, ERR_UNSUPPORTED, "this is a mirror: it answers GET and HEAD only");
    return MHD_YES;
}

void request_take_body(struct request *r, const char *bytes, size_t length)
{
    if (!r->takes_body || r->is_too_large)
        return;
    r->is_too_large = length > COMMAND_MAX_BYTES - r->body.length;
    if (!r->is_too_large)
        str_add_bytes(&r->body, bytes, length);
}

static enum MHD_Result dispatch(struct request *r)
{
    switch (r->route.kind) {
    case ROUTE_MANIFEST:
    case ROUTE_BLOB:
    case ROUTE_TAGS:
    case ROUTE_REFERRERS:
        return v2_handle(r);
    case ROUTE_CATALOG:
    case ROUTE_V1_SEARCH:
        return lists_handle(r);
    case ROUTE_EXPLAIN:
        return explain_handle(r);
    case ROUTE_STATUS:
        return status_handle(r);
    case ROUTE_CONTROL:
        return control_handle(r);
    case ROUTE_METRICS:
        return metrics_handle(r);
    case ROUTE_UPLOAD:
        return refuse(r, ERR_UNSUPPORTED, "this is a mirror: it takes no uploads");
    default:
        return admin_handle(r);
    }
}

enum MHD_Result request_answer(struct request *r, const char *target)
{
    struct error e;
    if (!r->has_begun && route_parse(slice_of(target), &r->route, &e) < 0)
        return reply_error(r, &e);
    r->has_begun = true;
    return dispatch(r);
}

static void write_log(const struct request *r, bool is_whole, int64_t duration_us)
{
    char digest[DIGEST_TEXT_MAX];
    const char *reference = r->route.tag[0] ? r->route.tag : NULL;
    if (!reference && r->route.digest.algorithm)
        reference = digest_print(&r->route.digest, digest);
    bool was_asked = r->upstream && !upstream_is_only_held(r->upstream) &&
                     (r->error[0] || (r->cache != CACHE_NONE && r->cache != CACHE_HIT));
    log_event(LOG_LEVEL_INFO, "request", LOG_S("id", r->id), LOG_S("method", r->method),
              LOG_S("path", r->target), LOG_S("kind", route_kind_name(r->route.kind)),
              LOG_S("registry", r->upstream ? r->upstream->registry : NULL),
              LOG_S("image", r->repository[0] ? r->repository : NULL),
              LOG_S("reference", reference), LOG_I("status", r->status),
              LOG_S("cache", r->cache == CACHE_NONE ? NULL : answer_cache_name(r->cache)),
              LOG_I("bytes", r->body_bytes), LOG_I("ms", duration_us / 1000),
              LOG_S("upstream", was_asked ? upstream_origin(r->upstream)->url : NULL),
              LOG_S("error", r->error[0] ? r->error : NULL), LOG_S("end", is_whole ? NULL : "cut"),
              LOG_END);
}

void request_end(struct request *r, bool is_whole)
{
    const struct tally_entry entry = {.route = r->route.kind,
                                      .registry = r->upstream ? r->upstream->number : 0,
                                      .cache = r->cache,
                                      .status = r->status,
                                      .body_bytes = r->body_bytes,
                                      .is_whole = is_whole,
                                      .first_byte_us = r->answered_us - r->began_us,
                                      .duration_us = clock_mono_us() - r->began_us};
    write_log(r, is_whole, entry.duration_us);
    tally_end(r->desk->tally, &entry);
    request_leave_flow(r);
    if (r->answer)
        answer_unref(r->answer);
    str_fini(&r->body);
    free(r->target);
    free(r);
}
