/* SPDX-License-Identifier: Apache-2.0
 * Waiting without a thread: the connection is suspended first, then whoever will know is asked to
 * wake it; if it knows already, the connection is resumed at once. No lock is held around either.
 */
#include "serve/request.h"

#include <stddef.h>
#include <string.h>

#include "base/str.h"

/* Up to this size a blob is proven before its answer begins: an error then is an error, not a cut
 * connection. */
enum { PROVEN_FIRST_BYTES = 64 << 10 };

static void wake(struct waiter *w)
{
    struct request *r = (struct request *)((char *)w - offsetof(struct request, waiter));
    MHD_resume_connection(r->connection);
}

bool request_await_answer(struct request *r)
{
    if (answer_is_done(r->answer))
        return false;
    r->waiter.wake = wake;
    MHD_suspend_connection(r->connection);
    if (!answer_await(r->answer, &r->waiter))
        MHD_resume_connection(r->connection);
    return true;
}

bool request_await_flow(struct request *r)
{
    uint64_t size;
    struct flow *f = r->answer->flow;
    bool is_ended = flow_state(f) >= FLOW_VERIFIED, has_size = flow_size(f, &size);
    if (is_ended || (has_size && size > PROVEN_FIRST_BYTES))
        return false;
    r->waiter.wake = wake;
    MHD_suspend_connection(r->connection);
    if (!flow_await(f, has_size ? FLOW_END : FLOW_HEAD, &r->waiter))
        MHD_resume_connection(r->connection);
    return true;
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
