/* SPDX-License-Identifier: Apache-2.0
 * What is here and may be wrong: held back from readers, and thrown away as long as none was given
 * it. What passes unstored is given to readers as it comes, for it has no other place to be. */
#include "base/file.h"
#include "cache/flow_inside.h"
#include "cache/room.h"
#include "cache/store.h"

void flow_doubt(struct flow *f, uint64_t first, uint64_t end)
{
    MUTEX_HOLD(&f->mutex);
    if (!flow_is_passing(f))
        segments_add(&f->doubted, first, end);
}

void flow_trust(struct flow *f, uint64_t first, uint64_t end)
{
    f->is_dirty = true;
    MUTEX_HOLD(&f->mutex);
    segments_remove(&f->doubted, first, end);
}

/* What was hashed may have been of what went. */
static void hash_anew(struct flow *f, uint64_t gone)
{
    if (!flow_is_passing(f))
        room_write(store_room(f->store), &f->digest, -(int64_t)gone);
    hasher_reset(f->hasher);
    mutex_lock(&f->mutex);
    f->hashed = 0;
    f->is_claimed = false;
    mutex_unlock(&f->mutex);
    flow_save(f);
}

bool flow_restart(struct flow *f)
{
    mutex_lock(&f->mutex);
    bool may = f->given.count == 0 && f->state < FLOW_VERIFIED;
    uint64_t gone = segments_sum(&f->present);
    if (may) {
        f->present.count = f->kept.count = f->doubted.count = 0;
        window_clear(&f->window);
        f->taken_up = 0;
        if (f->state == FLOW_WAITING || !(f->is_promised || f->was_told)) {
            f->state = FLOW_WAITING;
            f->has_size = false;
        }
    }
    mutex_unlock(&f->mutex);
    if (!may)
        return false;
    flow_hash_claim(f);
    f->gathered_bytes = 0;
    if (f->fd >= 0 && ftruncate(f->fd, 0) < 0)
        return false;
    hash_anew(f, gone);
    return true;
}

bool flow_drop(struct flow *f, const struct segments *bytes)
{
    flow_hash_claim(f);
    mutex_lock(&f->mutex);
    bool may = f->state < FLOW_VERIFIED && !flow_is_passing(f) && !segments_meet(&f->given, bytes);
    uint64_t before = segments_sum(&f->present);
    if (may) {
        segments_subtract(&f->present, bytes);
        segments_subtract(&f->doubted, bytes);
    }
    uint64_t gone = before - segments_sum(&f->present);
    mutex_unlock(&f->mutex);
    if (may)
        hash_anew(f, gone);
    return may;
}
