/* SPDX-License-Identifier: Apache-2.0
 * A lane that was shortened stops by refusing the next body bytes: libcurl then drops its
 * connection, and the few bytes on the way are the price of having handed over the rest. */
#include "fetch/lane.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "fetch/exchange.h"
#include "fetch/plan.h"
#include "upstream/upstream.h"

struct lane {
    struct lane_request request;
    struct exchange *exchange;
    struct part part;
    uint64_t received;
    bool is_refused;
};

static int on_head(void *cls, const struct head *head, struct error *e)
{
    struct lane *l = cls;
    const struct content_range *r = &head->content_range;
    if (head->status == 206 && head->has_content_range && !r->is_unsatisfied &&
        r->first == l->part.at && r->last + 1 == l->part.asked_end && r->total == l->request.size)
        return 0;
    l->is_refused = true;
    return error_set(e, ERR_UPSTREAM, "%s did not answer the range that was asked",
                     l->request.source->url);
}

static int on_body(void *cls, const void *bytes, size_t length, struct error *e)
{
    struct lane *l = cls;
    l->received += length;
    if (l->part.at >= l->part.end)
        return error_set(e, ERR_STOPPING, "the rest comes another way");
    if (length > l->part.end - l->part.at)
        length = (size_t)(l->part.end - l->part.at);
    if (l->request.on_bytes(l->request.cls, l, l->part.at, bytes, length, e) < 0)
        return -1;
    l->part.at += length;
    return 0;
}

static void on_done(void *cls, const struct head *head, const struct error *why)
{
    struct lane *l = cls;
    struct error none = {0};
    (void)head;
    l->exchange = NULL;
    if (l->part.at >= l->part.end)
        why = NULL;
    else if (!why)
        why = (error_set(&none, ERR_UPSTREAM, "%s sent less than the range that was asked",
                         l->request.source->url),
               &none);
    bool is_refused =
        l->is_refused || (why && why->upstream_status > 0 && why->upstream_status != 404);
    l->request.on_done(l->request.cls, l, is_refused, why);
    free(l);
}

struct lane *lane_start(struct fetcher *f, const struct lane_request *r)
{
    struct error e;
    struct lane *l = alloc_zero(sizeof *l);
    l->request = *r;
    l->request.repository = l->request.path = NULL;
    l->part = (struct part){r->first, r->end, r->end, r->source_index, false};
    const struct exchange_request x = {.source = r->source,
                                       .repository = r->repository,
                                       .path = r->path,
                                       .accept = "*/*",
                                       .has_range = true,
                                       .range_first = r->first,
                                       .range_last = r->end - 1,
                                       .on_head = on_head,
                                       .on_body = on_body,
                                       .on_done = on_done,
                                       .cls = l};
    l->exchange = exchange_start(f, &x, &e);
    if (l->exchange)
        return l;
    free(l);
    return NULL;
}

void lane_cancel(struct lane *l)
{
    if (l->exchange)
        exchange_cancel(l->exchange);
    free(l);
}

struct part *lane_part(struct lane *l)
{
    return &l->part;
}

uint64_t lane_received(const struct lane *l)
{
    return l->received;
}

struct source *lane_source(const struct lane *l)
{
    return l->request.source;
}
