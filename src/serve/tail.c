/* SPDX-License-Identifier: Apache-2.0
 * First suspend, then look again, then resume if there is news: a wake-up between the two looks is
 * never lost. */
#include "serve/tail.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/str.h"
#include "mirror/content.h"
#include "serve/request.h"

enum { BLOCK_BYTES = 128 << 10 };

struct piece {
    uint64_t at; /* in the body */
    uint64_t length;
    char *text; /* NULL: bytes of the blob from first on */
    uint64_t first;
};

struct tail {
    struct MHD_Connection *connection;
    const struct desk *desk;
    struct content *content;
    int file; /* of mapped content; -1: its bytes are in memory */
    struct flow *flow;
    struct waiter waiter;
    struct flow_reader reader;
    bool is_reader;
    struct piece *pieces;
    size_t count, now; /* pieces are walked forward only */
    char id[17];
};

static void wake(struct waiter *w)
{
    struct tail *t = (struct tail *)((char *)w - offsetof(struct tail, waiter));
    desk_resume(t->desk, t->connection);
}

static ssize_t cut(const struct tail *t, const struct error *e)
{
    log_event(LOG_LEVEL_WARNING, "cutting a client short", LOG_S("request", t->id),
              LOG_S("error", e->text), LOG_END);
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

/* Not from the mapping: a block that the disk cannot read would be the end of the process. */
static ssize_t copy(const struct tail *t, uint64_t offset, char *into, size_t max)
{
    struct error e = {0};
    if (t->file < 0) {
        memcpy(into, t->content->bytes + offset, max);
        return (ssize_t)max;
    }
    ssize_t n = file_read_some(t->file, into, max, offset, &e);
    if (n == 0)
        error_set(&e, ERR_CORRUPT, "a held blob is shorter than it was");
    return n > 0 ? n : cut(t, &e);
}

static ssize_t follow(struct tail *t, uint64_t offset, char *into, size_t max)
{
    struct error e = {0};
    ssize_t n = flow_read_as(t->flow, &t->reader, offset, into, max, &e);
    if (n < 0)
        return cut(t, &e);
    if (n == 0) {
        MHD_suspend_connection(t->connection);
        if (!flow_await(t->flow, offset, &t->waiter))
            desk_resume(t->desk, t->connection);
    }
    return n;
}

static ssize_t more(void *cls, uint64_t position, char *into, size_t max)
{
    struct tail *t = cls;
    while (t->now + 1 < t->count && position >= t->pieces[t->now].at + t->pieces[t->now].length)
        t->now++;
    const struct piece *p = &t->pieces[t->now];
    uint64_t skip = position - p->at;
    if (skip >= p->length)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (max > p->length - skip)
        max = (size_t)(p->length - skip);
    if (!p->text)
        return t->content ? copy(t, p->first + skip, into, max)
                          : follow(t, p->first + skip, into, max);
    memcpy(into, p->text + skip, max);
    return (ssize_t)max;
}

static void done(void *cls)
{
    struct tail *t = cls;
    if (t->content)
        content_end_read(t->content);
    if (t->file >= 0)
        close(t->file);
    if (t->flow) {
        metric_add(flow_readers, -1);
        if (t->is_reader)
            flow_leave(t->flow, &t->reader);
        flow_unref(t->flow);
    }
    for (size_t i = 0; i < t->count; i++)
        free(t->pieces[i].text);
    free(t->pieces);
    free(t);
}

static uint64_t add_text(struct tail *t, uint64_t at, char *text)
{
    t->pieces[t->count++] = (struct piece){.at = at, .length = strlen(text), .text = text};
    return at + strlen(text);
}

struct MHD_Response *tail_response(struct request *r, struct content *content, struct flow *flow,
                                   const struct range_set *ranges, uint64_t size_bytes,
                                   const char *content_type, const char *boundary, uint64_t *length)
{
    struct tail *t = alloc_zero(sizeof *t);
    uint64_t at = 0;
    t->connection = r->connection;
    t->desk = r->desk;
    t->content = content ? content_read(content) : NULL;
    t->file =
        content && content_is_mapped(content) ? mirror_open_file(r->desk->mirror, content) : -1;
    t->flow = flow ? flow_ref(flow) : NULL;
    if (flow)
        metric_add(flow_readers, 1);
    t->waiter.wake = wake;
    memcpy(t->id, r->id, sizeof t->id);
    t->pieces = alloc_array(2 * ranges->count + 2, sizeof *t->pieces);
    for (size_t i = 0; i < ranges->count; i++) {
        const struct range *range = &ranges->ranges[i];
        if (boundary)
            at = add_text(t, at,
                          alloc_format("%s--%s\r\nContent-Type: %s\r\nContent-Range: bytes %" PRIu64
                                       "-%" PRIu64 "/%" PRIu64 "\r\n\r\n",
                                       i > 0 ? "\r\n" : "", boundary, content_type, range->first,
                                       range->last, size_bytes));
        uint64_t n = range->last - range->first + 1;
        t->pieces[t->count++] = (struct piece){.at = at, .length = n, .first = range->first};
        at += n;
    }
    if (boundary)
        at = add_text(t, at, alloc_format("\r\n--%s--\r\n", boundary));
    *length = at;
    t->is_reader = flow && flow_join(flow, &t->reader, 0);
    if (!t->is_reader)
        t->reader.is_cut = true; /* what passed meanwhile cannot be read */
    return MHD_create_response_from_callback(at, BLOCK_BYTES, more, t, done);
}
