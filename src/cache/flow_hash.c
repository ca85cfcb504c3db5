/* SPDX-License-Identifier: Apache-2.0
 * The hash runs along the contiguous prefix. Of a small blob the producer computes it as bytes are
 * written, of a large one a thread beside him from the page cache; what is left at the end the
 * producer does himself, so that nobody ever waits for more than a chunk. */
#include "base/alloc.h"
#include "base/file.h"
#include "cache/flow_inside.h"

enum {
    HASH_CHUNK = 256 << 10,
    HASH_AT_BYTES = 1 << 20,   /* nor is less of a large one */
    HASH_TURN_BYTES = 4 << 20, /* then it is another blob's turn */
};

static bool is_beside(const struct flow *f)
{
    return f->beside && flow_is_large(f) && !flow_is_passing(f);
}

void flow_hash_bytes(struct flow *f, const void *bytes, size_t length, uint64_t offset)
{
    if (is_beside(f) || offset != f->hashed)
        return;
    hasher_update(f->hasher, bytes, length);
    f->hashed += length;
}

/* Whoever has the hasher hashes what is present next, at most a chunk. Returns what is left. */
static uint64_t hash_chunk(struct flow *f, char *chunk)
{
    mutex_lock(&f->mutex);
    uint64_t at = f->hashed, n = segments_from(&f->present, at);
    mutex_unlock(&f->mutex);
    if (n == 0)
        return 0;
    ssize_t got = flow_read_file(f, chunk, n < HASH_CHUNK ? (size_t)n : HASH_CHUNK, at, NULL);
    if (got <= 0)
        return 0; /* flow_finish will find the hash short of the end and fail */
    hasher_update(f->hasher, chunk, (size_t)got);
    MUTEX_HOLD(&f->mutex);
    f->hashed = at + (uint64_t)got;
    return segments_from(&f->present, f->hashed);
}

static bool hold_hasher(struct flow *f)
{
    MUTEX_HOLD(&f->mutex);
    f->is_hashing = !f->is_claimed && f->state < FLOW_VERIFIED;
    return f->is_hashing;
}

static void leave_hasher(struct flow *f)
{
    MUTEX_HOLD(&f->mutex);
    f->is_hashing = false;
    pthread_cond_signal(&f->is_free);
}

static void hash_beside(struct hash_work *w)
{
    struct flow *f = (struct flow *)((char *)w - offsetof(struct flow, work));
    autofree char *chunk = alloc_array(HASH_CHUNK, 1);
    uint64_t left = 1;
    for (size_t done = 0; left > 0 && done < HASH_TURN_BYTES && hold_hasher(f);
         done += HASH_CHUNK) {
        left = hash_chunk(f, chunk);
        leave_hasher(f);
    }
    mutex_lock(&f->mutex);
    f->is_waiting = left >= HASH_AT_BYTES && !f->is_claimed && f->state < FLOW_VERIFIED;
    bool is_to_go_on = f->is_waiting;
    mutex_unlock(&f->mutex);
    if (is_to_go_on)
        hashing_post(f->beside, w);
    else
        flow_unref(f);
}

void flow_hash_claim(struct flow *f)
{
    MUTEX_HOLD(&f->mutex);
    f->is_claimed = true;
    while (f->is_hashing)
        mutex_wait(&f->mutex, &f->is_free, -1);
}

void flow_hash_beside(struct flow *f, struct hashing *h)
{
    f->beside = h;
    f->work.run = hash_beside;
}

void flow_hash_news(struct flow *f)
{
    if (!is_beside(f))
        return;
    mutex_lock(&f->mutex);
    bool is_work =
        !f->is_waiting && !f->is_claimed && segments_from(&f->present, f->hashed) >= HASH_AT_BYTES;
    f->is_waiting |= is_work;
    mutex_unlock(&f->mutex);
    if (is_work) {
        flow_ref(f);
        hashing_post(f->beside, &f->work);
    }
}

bool flow_hash_rest(struct flow *f, size_t max)
{
    autofree char *chunk = alloc_array(HASH_CHUNK, 1);
    flow_hash_claim(f);
    uint64_t left = 1;
    for (size_t done = 0; left > 0 && done < max; done += HASH_CHUNK)
        left = hash_chunk(f, chunk);
    return left > 0;
}
