/* SPDX-License-Identifier: Apache-2.0
 * A queue of chunks as they came. With no reader nothing goes: the first one has yet to come. */
#include "cache/window.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct window_chunk {
    STAILQ_ENTRY(window_chunk) next;
    uint64_t offset;
    size_t length;
    char bytes[];
};

void window_init(struct window *w)
{
    *w = (struct window){.chunks = STAILQ_HEAD_INITIALIZER(w->chunks)};
}

static void drop_first(struct window *w)
{
    struct window_chunk *c = STAILQ_FIRST(&w->chunks);
    STAILQ_REMOVE_HEAD(&w->chunks, next);
    w->bytes -= c->length;
    free(c);
}

void window_clear(struct window *w)
{
    while (!STAILQ_EMPTY(&w->chunks))
        drop_first(w);
}

void window_fini(struct window *w)
{
    window_clear(w);
}

bool window_has_room(const struct window *w, size_t length)
{
    return w->bytes + length <= WINDOW_BYTES;
}

const char *window_at(const struct window *w, uint64_t offset, uint64_t *length)
{
    const struct window_chunk *c;
    STAILQ_FOREACH(c, &w->chunks, next)
    {
        if (offset < c->offset) {
            *length = c->offset - offset;
            return NULL;
        }
        if (offset - c->offset < c->length) {
            *length = c->length - (offset - c->offset);
            return c->bytes + (offset - c->offset);
        }
    }
    *length = UINT64_MAX;
    return NULL;
}

/* --- readers ---------------------------------------------------------------------------------- */

static struct flow_reader *last_reader(const struct window *w)
{
    struct flow_reader *r, *last = NULL;
    LIST_FOREACH(r, &w->readers, next)
    {
        if (!r->is_cut && (!last || r->at < last->at))
            last = r;
    }
    return last;
}

static void drop_passed(struct window *w)
{
    struct window_chunk *c;
    const struct flow_reader *last = last_reader(w);
    while (last && (c = STAILQ_FIRST(&w->chunks)) && c->offset + c->length <= last->at) {
        w->passed = c->offset + c->length;
        drop_first(w);
    }
}

void window_add(struct window *w, uint64_t offset, const void *bytes, size_t length)
{
    struct window_chunk *c = alloc_zero(sizeof *c + length);
    c->offset = offset;
    c->length = length;
    memcpy(c->bytes, bytes, length);
    STAILQ_INSERT_TAIL(&w->chunks, c, next);
    w->bytes += length;
    drop_passed(w); /* all may be ahead of it */
}

void window_join(struct window *w, struct flow_reader *r, uint64_t at)
{
    *r = (struct flow_reader){.at = at};
    LIST_INSERT_HEAD(&w->readers, r, next);
}

void window_leave(struct window *w, struct flow_reader *r)
{
    LIST_REMOVE(r, next);
    drop_passed(w);
}

void window_move(struct window *w, struct flow_reader *r, uint64_t at)
{
    if (at <= r->at)
        return;
    r->at = at;
    drop_passed(w);
}

bool window_cut_last(struct window *w)
{
    struct flow_reader *r, *last = last_reader(w);
    bool has_others = false;
    LIST_FOREACH(r, &w->readers, next)
    {
        has_others = has_others || (last && !r->is_cut && r->at > last->at);
    }
    if (has_others) {
        last->is_cut = true;
        drop_passed(w);
    }
    return last != NULL;
}
