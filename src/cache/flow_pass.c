/* SPDX-License-Identifier: Apache-2.0
 * A flow of which nothing more is kept: from file and hash thread to a window in memory, and who
 * reads from it. */
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "cache/flow_inside.h"
#include "cache/room.h"
#include "cache/store.h"

enum { PATIENCE_MS = 5000 }; /* with a reader who holds back the others, or with nobody reading */

struct flow *flow_new_passing(struct store *s, const struct digest *d, int64_t size_bytes)
{
    struct flow *f = flow_new(s, d, size_bytes);
    atomic_store(&f->is_passing, true);
    f->doubted.count = 0;
    f->is_dirty = true;
    metric_add(passed_through_total, 1);
    return f;
}

bool flow_is_passing(const struct flow *f)
{
    return atomic_load(&f->is_passing);
}

/* --- the producer ----------------------------------------------------------------------------- */

void flow_pass(struct flow *f, const struct error *why)
{
    if (flow_is_passing(f))
        return;
    flow_hash_claim(f); /* from here on bytes are hashed as they come */
    f->gathered_bytes = 0;
    mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->present.count; i++)
        segments_add(&f->kept, f->present.parts[i].first, f->present.parts[i].end);
    f->doubted.count = 0; /* held back, it would fill the window, and no more could come */
    f->is_dirty = true;
    atomic_store(&f->is_passing, true);
    mutex_unlock(&f->mutex);
    /* The descriptor stays: what came before can still be read. */
    store_partial_remove(f->store, &f->digest);
    room_note_passing(store_room(f->store), why->text);
}

int flow_has_room(struct flow *f, size_t length, struct error *e)
{
    if (!flow_is_passing(f))
        return 1;
    int64_t now_ms = clock_mono_ms();
    MUTEX_HOLD(&f->mutex);
    if (window_has_room(&f->window, length)) {
        f->full_since_ms = 0;
        return 1;
    }
    if (f->full_since_ms == 0)
        f->full_since_ms = now_ms;
    if (now_ms - f->full_since_ms < PATIENCE_MS)
        return 0;
    f->full_since_ms = 0;
    if (window_cut_last(&f->window))
        return 0;
    return error_set(e, ERR_STOPPING, "nobody reads it any more");
}

/* --- readers ---------------------------------------------------------------------------------- */

bool flow_copy_from_window(struct flow *f, uint64_t offset, void *into, uint64_t *length)
{
    uint64_t n;
    const char *at = window_at(&f->window, offset, &n);
    if (n < *length)
        *length = n;
    if (at) {
        memcpy(into, at, (size_t)*length);
        return true;
    }
    n = segments_from(&f->kept, offset);
    if (n < *length)
        *length = n;
    return false;
}

bool flow_is_past(struct flow *f)
{
    if (atomic_load(&f->is_unreadable))
        return true;
    MUTEX_HOLD(&f->mutex);
    return f->window.passed > 0;
}

bool flow_join(struct flow *f, struct flow_reader *r, uint64_t at)
{
    MUTEX_HOLD(&f->mutex);
    if (at < f->window.passed)
        return false;
    window_join(&f->window, r, at);
    return true;
}

void flow_leave(struct flow *f, struct flow_reader *r)
{
    MUTEX_HOLD(&f->mutex);
    window_leave(&f->window, r);
}

ssize_t flow_read_as(struct flow *f, struct flow_reader *r, uint64_t offset, void *into, size_t max,
                     struct error *e)
{
    {
        MUTEX_HOLD(&f->mutex);
        if (r->is_cut)
            return error_set(e, ERR_TIMEOUT, "others wait for a reader that is too slow");
        window_move(&f->window, r, offset);
    }
    return flow_read(f, offset, into, max, e);
}
