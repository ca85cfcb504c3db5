/* SPDX-License-Identifier: Apache-2.0
 * What `tranship pull` asks of a mirror beside manifests: that a blob comes to stay, without its
 * bytes going anywhere else, and that all that came is durable. */
#include "base/error.h"
#include "base/json_write.h"
#include "base/str.h"
#include "mirror/settle.h"
#include "oci/reference.h"
#include "serve/reply.h"
#include "serve/request.h"
#include "upstream/upstream.h"

static int read_name(const struct request *r, struct reference *out, struct error *e)
{
    return reference_parse((struct slice){str_text(&r->body), r->body.length}, out, e);
}

static int ask(struct request *r, struct error *e)
{
    struct reference name = {0};
    if (read_name(r, &name, e) < 0)
        return -1;
    if (!name.digest.algorithm)
        return error_set(e, ERR_DIGEST_INVALID, "a blob is named by REPOSITORY@DIGEST");
    r->upstream = upstreams_find(r->desk->upstreams, slice_of(name.registry));
    if (!r->upstream)
        return error_set(e, ERR_NAME_UNKNOWN,
                         "the registry \"%.100s\" is not one that this mirror serves",
                         name.registry);
    slice_copy(slice_of(name.repository), r->repository, sizeof r->repository);
    if (v2_check_allowed(r, e) < 0)
        return -1;
    struct ask a = {.kind = ASK_BLOB, .upstream = r->upstream, .digest = name.digest};
    slice_copy(slice_of(r->repository), a.repository, sizeof a.repository);
    r->answer = mirror_ask(r->desk->mirror, r->desk->reader, &a, &r->joined);
    return 0;
}

static enum MHD_Result tell(struct request *r, const char *outcome, uint64_t size_bytes)
{
    struct str body = {0};
    json_write_open(&body, NULL, '{');
    json_write_text(&body, "outcome", outcome);
    json_write_number(&body, "size", (int64_t)size_bytes);
    json_write_close(&body, '}');
    return reply_text(r, 200, "application/json", &body);
}

static enum MHD_Result flow_ended(struct request *r)
{
    struct error e = {0};
    uint64_t size = 0;
    struct flow *f = r->answer->flow;
    if (flow_is_passing(f)) {
        error_set(&e, ERR_NO_SPACE, "there is no room to keep it");
        return reply_error(r, &e);
    }
    if (flow_state(f) == FLOW_VERIFIED && flow_size(f, &size))
        return tell(r, "came", size);
    flow_error(f, &e);
    if (e.kind == ERR_NOT_FOUND)
        e.kind = ERR_BLOB_UNKNOWN;
    if (!r->joined || r->asked_again)
        return reply_error(r, &e);
    r->asked_again = true; /* what failed for another repository may be had for this one */
    answer_unref(r->answer);
    r->answer = NULL;
    return collect_fetch(r);
}

/* The body is REGISTRY/REPOSITORY@DIGEST of a blob. Answered once all of it was verified: "held" if
 * it was there before, else "came". */
enum MHD_Result collect_fetch(struct request *r)
{
    struct error e = {0};
    if (!r->answer && ask(r, &e) < 0)
        return reply_error(r, &e);
    if (request_await_answer(r))
        return MHD_YES;
    switch (r->answer->kind) {
    case ANSWER_ERROR:
        return reply_error(r, &r->answer->error);
    case ANSWER_FLOW:
        return request_await_end(r) ? MHD_YES : flow_ended(r);
    case ANSWER_CONTENT:
        return tell(r, "held", r->answer->content->size_bytes);
    default:
        return tell(r, "held", r->answer->size_bytes);
    }
}

/* The body is the name of an image to be pinned, or nothing. Answered once all that was told to
 * have come before is durable. */
enum MHD_Result collect_settle(struct request *r)
{
    struct error e = {0};
    struct str body = {0};
    struct reference pin = {0};
    if (!r->answer && r->body.length > 0 && read_name(r, &pin, &e) < 0)
        return reply_error(r, &e);
    if (!r->answer)
        r->answer = settle_ask(r->desk->mirror, r->body.length > 0 ? &pin : NULL);
    if (request_await_answer(r))
        return MHD_YES;
    if (r->answer->kind == ANSWER_ERROR)
        return reply_error(r, &r->answer->error);
    str_add(&body, "{\"done\":true}");
    return reply_text(r, 200, "application/json", &body);
}
