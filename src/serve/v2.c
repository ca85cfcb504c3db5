/* SPDX-License-Identifier: Apache-2.0
 * Manifests and blobs, and how a request finds its registry: the host that it was sent to, ?ns=,
 * what stands before /v2, the first component of the name, else the default. They may repeat each
 * other, never contradict. A closed world: what is neither configured nor imported is answered
 * here, and only what is configured is ever dialled. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "cache/imported.h"
#include "mirror/mirror.h"
#include "serve/reply.h"
#include "serve/request.h"
#include "upstream/upstream.h"

/* The request says, in some way, that it means this registry. */
static int choose(struct request *r, struct upstream *u, const char *said, struct error *e)
{
    if (!u)
        return error_set(e, ERR_NAME_UNKNOWN,
                         "the registry \"%.100s\" is not one that this mirror serves%s", said,
                         mirror_is_offline(r->desk->mirror) ? ", and it runs in offline mode" : "");
    /* by name: the two may come from before and after a new configuration */
    if (r->upstream && strcmp(r->upstream->registry, u->registry) != 0)
        return error_set(e, ERR_NAME_INVALID,
                         "the request names two registries, %s and %s (by host, ns or path)",
                         r->upstream->registry, u->registry);
    r->upstream = u;
    return 0;
}

static int choose_by_host(struct request *r, struct error *e)
{
    const char *host = request_header(r, "Host");
    struct upstream *u = host ? upstreams_find_host(r->desk->upstreams, slice_of(host)) : NULL;
    return u ? choose(r, u, host, e) : 0;
}

static int choose_by_ns(struct request *r, struct error *e)
{
    const char *raw = request_argument(r, "ns");
    if (!raw || !raw[0])
        return 0;
    if (!str_percent_decode(slice_of(raw), r->ns, sizeof r->ns) || strpbrk(r->ns, "\r\n")) {
        r->ns[0] = 0;
        return error_set(e, ERR_NAME_INVALID, "the ns argument is badly encoded or too long");
    }
    return choose(r, upstreams_find(r->desk->upstreams, slice_of(r->ns)), r->ns, e);
}

static int choose_by_path(struct request *r, const char *named, struct error *e)
{
    return choose(r, upstreams_find(r->desk->upstreams, slice_of(named)), named, e);
}

/* Sent to a registry's own name, which leads here: that registry, if the repository is known of it.
 * Otherwise the name may as well be this mirror's own, under which somebody tagged an image. */
static struct upstream *find_by_own_name(const struct request *r, struct slice repository)
{
    const char *header = request_header(r, "Host");
    struct slice host = slice_of(header ? header : ""), name, port;
    char text[REPOSITORY_MAX + 1];
    struct error ignored;
    struct upstream *u = upstreams_find(r->desk->upstreams, host);
    if (!u && slice_cut_last(host, ':', &name, &port))
        u = upstreams_find(r->desk->upstreams, name);
    bool is_known = u && u != upstreams_default(r->desk->upstreams) &&
                    slice_copy(repository, text, sizeof text) &&
                    imported_is_known(r->desk->reader, u->registry, text, &ignored) == 1;
    return is_known ? u : NULL;
}

int v2_check_allowed(const struct request *r, struct error *e)
{
    const char *rule;
    if (upstream_allows(r->upstream, r->repository, &rule))
        return 0;
    if (rule[0])
        return error_set(e, ERR_DENIED, "%s: this mirror's deny list for %s has \"%.100s\"",
                         r->repository, r->upstream->registry, rule);
    return error_set(e, ERR_DENIED, "%s: nothing in this mirror's allow list for %s matches it",
                     r->repository, r->upstream->registry);
}

static int resolve(struct request *r, struct error *e)
{
    struct slice name = slice_of(r->route.name), first, rest;
    if (choose_by_host(r, e) < 0 || choose_by_ns(r, e) < 0)
        return -1;
    if (r->route.before[0] && choose_by_path(r, r->route.before, e) < 0)
        return -1;
    if (slice_cut(name, '/', &first, &rest)) {
        char text[256];
        bool looks_like_a_host = memchr(first.at, '.', first.length) != NULL;
        struct upstream *u = upstreams_find(r->desk->upstreams, first);
        if ((u || (looks_like_a_host && !r->upstream)) && slice_copy(first, text, sizeof text)) {
            if (choose_by_path(r, text, e) < 0)
                return -1;
            if (slice_starts(rest, "v2/")) /* of a host http://HOST:PORT/v2/REGISTRY */
                return error_set(e, ERR_NAME_UNKNOWN,
                                 "the path holds /v2 twice: write the host as "
                                 "http://HOST:PORT/%s, or set override_path",
                                 text);
            snprintf(r->prefix, sizeof r->prefix, "%.200s/", text);
            name = rest;
        }
    }
    if (!r->upstream)
        r->upstream = find_by_own_name(r, name);
    if (!r->upstream)
        r->upstream = upstreams_default(r->desk->upstreams);
    bool is_hub = strcmp(r->upstream->registry, "docker.io") == 0;
    bool needs_library = is_hub && !memchr(name.at, '/', name.length);
    if (snprintf(r->repository, sizeof r->repository, "%s%.*s", needs_library ? "library/" : "",
                 (int)name.length, name.at) >= (int)sizeof r->repository)
        return error_set(e, ERR_NAME_INVALID, "the repository name is longer than %d bytes",
                         REPOSITORY_MAX);
    return v2_check_allowed(r, e);
}

static int ask(struct request *r, struct error *e)
{
    static const enum ask_kind kinds[] = {[ROUTE_MANIFEST] = ASK_MANIFEST,
                                          [ROUTE_BLOB] = ASK_BLOB,
                                          [ROUTE_TAGS] = ASK_TAGS,
                                          [ROUTE_REFERRERS] = ASK_REFERRERS};
    if (resolve(r, e) < 0)
        return -1;
    if (r->route.has_digest && !r->route.digest.algorithm)
        return error_set(e, r->route.kind == ROUTE_BLOB ? ERR_BLOB_UNKNOWN : ERR_MANIFEST_UNKNOWN,
                         "digests of that algorithm cannot be verified here");
    struct ask a = {.kind = kinds[r->route.kind],
                    .is_head = r->is_head,
                    .goes_alone = r->desk->is_local, /* commands ask for all that they want */
                    .upstream = r->upstream,
                    .digest = r->route.digest};
    slice_copy(slice_of(r->repository), a.repository, sizeof a.repository);
    slice_copy(slice_of(r->route.tag), a.tag, sizeof a.tag);
    r->answer = mirror_ask(r->desk->mirror, r->desk->reader, &a, &r->joined);
    return 0;
}

enum MHD_Result v2_answer_error(struct request *r)
{
    struct error e = r->answer->error;
    if (e.kind == ERR_NOT_FOUND)
        e.kind = r->route.kind == ROUTE_BLOB ? ERR_BLOB_UNKNOWN : ERR_MANIFEST_UNKNOWN;
    return reply_error(r, &e);
}

static enum MHD_Result ask_again(struct request *r)
{
    request_leave_flow(r);
    answer_unref(r->answer);
    r->answer = NULL;
    return v2_handle(r);
}

/* A flow that failed before anything was answered. One begun for another repository may fail where
 * this one would not. */
static enum MHD_Result flow_failed(struct request *r)
{
    struct error e = {0};
    flow_error(r->answer->flow, &e);
    if (r->joined && !r->asked_again) {
        r->asked_again = true;
        return ask_again(r);
    }
    if (e.kind == ERR_NOT_FOUND)
        e.kind = ERR_BLOB_UNKNOWN;
    return reply_error(r, &e);
}

static enum MHD_Result answer_flow(struct request *r)
{
    if (!request_join_flow(r))
        return ask_again(r);
    if (request_await_flow(r))
        return MHD_YES;
    if (flow_state(r->answer->flow) == FLOW_FAILED)
        return flow_failed(r);
    enum MHD_Result result = reply_object(r, r->answer);
    request_leave_flow(r);
    return result;
}

enum MHD_Result v2_handle(struct request *r)
{
    struct error e = {0};
    if (!r->answer && ask(r, &e) < 0)
        return reply_error(r, &e);
    if (request_await_answer(r))
        return MHD_YES;
    switch (r->answer->kind) {
    case ANSWER_ERROR:
        return v2_answer_error(r);
    case ANSWER_LISTING:
        return lists_handle(r);
    case ANSWER_FLOW:
        return answer_flow(r);
    case ANSWER_CONTENT:
    case ANSWER_HEAD:
    case ANSWER_SURVEY: /* these two answer no question of ours */
    case ANSWER_DONE:
        break;
    }
    return reply_object(r, r->answer);
}
