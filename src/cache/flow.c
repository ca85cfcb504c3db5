/* SPDX-License-Identifier: Apache-2.0
 * What is present is changed by the producer alone, under the mutex and after the bytes are in the
 * file, so a reader that sees a segment may read it without the lock.
 * The hash runs along the contiguous prefix. Of a small blob the producer computes it as bytes are
 * written, of a large one a thread beside it from the page cache; what is left at the end the
 * producer does himself, so that nobody ever waits for more than a chunk. Waiters are woken from a
 * private list with no lock held. */
#include "cache/flow.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/metrics.h"
#include "base/str.h"
#include "base/thread.h"
#include "cache/hashing.h"
#include "cache/segments.h"
#include "cache/store.h"

enum {
    SAVE_EVERY_BYTES = 4 << 20,
    FLUSH_EVERY_MS = 2,
    WAKE_AT_BYTES = 256 << 10, /* this much news is worth a wake-up before FLUSH_EVERY_MS is over */
    HASH_CHUNK = 256 << 10,
    HASH_BESIDE_BYTES = 4 << 20, /* smaller blobs are not worth waking a thread */
    HASH_AT_BYTES = 1 << 20,     /* nor is less of a large one */
    HASH_TURN_BYTES = 4 << 20,   /* then it is another blob's turn */
    RESERVE_BYTES = 16 << 20,    /* of disk, asked for at once */
};

STAILQ_HEAD(waiters, waiter);

struct flow {
    atomic_uint references;
    struct store *store;
    struct digest digest;
    int fd;                 /* set by flow_open, before the first segment */
    struct hasher *hasher;  /* whose hold is_hashing, or the producer once is_claimed */
    struct hashing *beside; /* NULL: none */
    struct hash_work work;
    uint64_t unsaved;   /* producer: bytes written since the map was */
    int64_t flushed_ms; /* producer */
    bool is_dirty;      /* producer: news since the last flush */
    uint64_t news;      /* producer: bytes of it */

    struct mutex mutex; /* guards all below */
    enum flow_state state;
    bool has_size, was_read;
    uint64_t size;
    struct segments present;
    uint64_t hashed;        /* prefix that went through the hasher */
    bool is_waiting;        /* work: posted, or running; it holds a reference */
    bool is_hashing;        /* the thread beside is at a chunk */
    bool is_claimed;        /* the producer hashes the rest */
    pthread_cond_t is_free; /* no longer is_hashing */
    struct waiters waiters;
    struct error error;
    uint64_t taken_up; /* bytes that an earlier flow left */
    int64_t began_ms;
};

struct flow *flow_new(struct store *s, const struct digest *d, int64_t size_bytes)
{
    struct flow *f = alloc_zero(sizeof *f);
    atomic_init(&f->references, 1);
    f->store = s;
    f->digest = *d;
    f->fd = -1;
    f->hasher = hasher_new(d->algorithm);
    f->has_size = size_bytes >= 0;
    f->size = f->has_size ? (uint64_t)size_bytes : 0;
    f->began_ms = clock_mono_ms();
    mutex_init(&f->mutex, RANK_FLOW);
    cond_init(&f->is_free);
    STAILQ_INIT(&f->waiters);
    metric_add(flows, 1);
    return f;
}

struct flow *flow_ref(struct flow *f)
{
    atomic_fetch_add(&f->references, 1);
    return f;
}

void flow_unref(struct flow *f)
{
    if (atomic_fetch_sub(&f->references, 1) != 1)
        return;
    if (f->fd >= 0)
        close(f->fd);
    hasher_free(f->hasher);
    mutex_fini(&f->mutex);
    pthread_cond_destroy(&f->is_free);
    segments_fini(&f->present);
    free(f);
    metric_add(flows, -1);
}

const struct digest *flow_digest(const struct flow *f)
{
    return &f->digest;
}

int flow_fd(const struct flow *f)
{
    return f->fd;
}

enum flow_state flow_state(struct flow *f)
{
    MUTEX_HOLD(&f->mutex);
    return f->state;
}

bool flow_size(struct flow *f, uint64_t *size_bytes)
{
    MUTEX_HOLD(&f->mutex);
    /* A descriptor's promise is no size yet: an upstream has to confirm it first. */
    if (f->state == FLOW_WAITING || !f->has_size)
        return false;
    *size_bytes = f->size;
    return true;
}

bool flow_error(struct flow *f, struct error *e)
{
    MUTEX_HOLD(&f->mutex);
    if (f->state != FLOW_FAILED)
        return false;
    if (e)
        *e = f->error;
    return true;
}

uint64_t flow_present(struct flow *f)
{
    MUTEX_HOLD(&f->mutex);
    return segments_sum(&f->present);
}

uint64_t flow_rate(struct flow *f)
{
    int64_t ms = clock_mono_ms() - f->began_ms;
    MUTEX_HOLD(&f->mutex);
    uint64_t here = segments_sum(&f->present);
    return here > f->taken_up ? (here - f->taken_up) * 1000 / (uint64_t)(ms > 0 ? ms : 1) : 0;
}

/* --- with the mutex held ---------------------------------------------------------------------- */

static uint64_t readable(const struct flow *f, uint64_t offset)
{
    uint64_t n = segments_from(&f->present, offset);
    bool reaches_the_end = !f->has_size || offset + n >= f->size;
    if (f->state == FLOW_VERIFIED || n == 0 || !reaches_the_end)
        return n;
    return n - 1; /* the newest byte is held back */
}

static bool has_news(const struct flow *f, uint64_t offset)
{
    if (f->state >= FLOW_VERIFIED)
        return true;
    if (offset == FLOW_END)
        return false;
    if (offset == FLOW_HEAD)
        return f->state == FLOW_STREAMING && f->has_size && f->size > 0;
    return readable(f, offset) > 0;
}

static void collect(struct flow *f, struct waiters *ready)
{
    struct waiters rest = STAILQ_HEAD_INITIALIZER(rest);
    struct waiter *w;
    while ((w = STAILQ_FIRST(&f->waiters))) {
        STAILQ_REMOVE_HEAD(&f->waiters, next);
        if (has_news(f, w->offset))
            STAILQ_INSERT_TAIL(ready, w, next);
        else
            STAILQ_INSERT_TAIL(&rest, w, next);
    }
    STAILQ_CONCAT(&f->waiters, &rest);
}

/* --- without it ------------------------------------------------------------------------------- */

static void wake_those_with_news(struct flow *f)
{
    struct waiters ready = STAILQ_HEAD_INITIALIZER(ready);
    mutex_lock(&f->mutex);
    collect(f, &ready);
    mutex_unlock(&f->mutex);
    struct waiter *w;
    while ((w = STAILQ_FIRST(&ready))) {
        STAILQ_REMOVE_HEAD(&ready, next);
        w->wake(w);
    }
}

ssize_t flow_read(struct flow *f, uint64_t offset, void *into, size_t max, struct error *e)
{
    uint64_t n;
    {
        MUTEX_HOLD(&f->mutex);
        if (f->state == FLOW_FAILED) {
            if (e)
                *e = f->error;
            return -1;
        }
        n = readable(f, offset);
        if (n > 0)
            f->was_read = true;
    }
    if (n == 0)
        return 0;
    ssize_t got = file_read_some(f->fd, into, n < max ? (size_t)n : max, offset, e);
    if (got == 0)
        return error_set(e, ERR_IO, "the partial file is shorter than what was written to it");
    return got;
}

bool flow_await(struct flow *f, uint64_t offset, struct waiter *w)
{
    MUTEX_HOLD(&f->mutex);
    if (has_news(f, offset))
        return false;
    w->offset = offset;
    STAILQ_INSERT_TAIL(&f->waiters, w, next);
    return true;
}

static void take_up(struct flow *f, const char *text)
{
    int64_t size = -1;
    struct segments found = {0};
    off_t length = lseek(f->fd, 0, SEEK_END);
    bool is_good = segments_read(&found, text, &size) && length >= 0 &&
                   segments_end(&found) <= (uint64_t)length;
    MUTEX_HOLD(&f->mutex);
    if (!is_good || (f->has_size && size >= 0 && f->size != (uint64_t)size)) {
        segments_fini(&found);
        return;
    }
    if (size >= 0) {
        f->has_size = true;
        f->size = (uint64_t)size;
    }
    f->present = found;
    f->taken_up = segments_sum(&found);
}

int flow_open(struct flow *f, struct error *e)
{
    f->fd = store_partial_open(f->store, &f->digest, e);
    if (f->fd < 0)
        return -1;
    autofree char *map = NULL;
    size_t length;
    if (store_partial_read_map(f->store, &f->digest, &map, &length, NULL) == 1)
        take_up(f, map);
    /* What lies behind the last present byte is nobody's: it must not become part of the blob. */
    if (ftruncate(f->fd, (off_t)segments_end(&f->present)) < 0)
        return error_errno(e, "cut a partial file");
    metric_add(flows_started_total, 1);
    if (f->present.count > 0)
        metric_add(flows_resumed_total, 1);
    return 0;
}

int flow_set_size(struct flow *f, uint64_t size_bytes, struct error *e)
{
    {
        MUTEX_HOLD(&f->mutex);
        if (f->has_size && f->size != size_bytes)
            return error_set(e, ERR_CORRUPT, "size %" PRIu64 " where %" PRIu64 " was promised",
                             size_bytes, f->size);
        if (segments_end(&f->present) > size_bytes)
            return error_set(e, ERR_CORRUPT, "size %" PRIu64 " is less than what came already",
                             size_bytes);
        f->has_size = true;
        f->size = size_bytes;
        if (f->state == FLOW_WAITING)
            f->state = FLOW_STREAMING;
    }
    wake_those_with_news(f);
    return 0;
}

static void note_news(struct flow *f, uint64_t bytes)
{
    f->is_dirty = true;
    f->news += bytes;
    f->unsaved += bytes;
    if (f->unsaved >= SAVE_EVERY_BYTES)
        flow_save(f);
}

/* --- the hash ----------------------------------------------------------------------------------
 */

static bool is_hashed_beside(const struct flow *f)
{
    return f->beside && f->has_size && f->size >= HASH_BESIDE_BYTES;
}

/* Whoever has the hasher hashes what is present next, at most a chunk. Returns what is left. */
static uint64_t hash_chunk(struct flow *f, char *chunk)
{
    mutex_lock(&f->mutex);
    uint64_t at = f->hashed, n = segments_from(&f->present, at);
    mutex_unlock(&f->mutex);
    if (n == 0)
        return 0;
    ssize_t got = file_read_some(f->fd, chunk, n < HASH_CHUNK ? (size_t)n : HASH_CHUNK, at, NULL);
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

static void claim_hasher(struct flow *f)
{
    MUTEX_HOLD(&f->mutex);
    f->is_claimed = true;
    while (f->is_hashing)
        mutex_wait(&f->mutex, &f->is_free, -1);
}

bool flow_catch_up(struct flow *f, size_t max)
{
    autofree char *chunk = alloc_array(HASH_CHUNK, 1);
    claim_hasher(f);
    uint64_t left = 1;
    for (size_t done = 0; left > 0 && done < max; done += HASH_CHUNK)
        left = hash_chunk(f, chunk);
    return left > 0;
}

void flow_hash_beside(struct flow *f, struct hashing *h)
{
    f->beside = h;
    f->work.run = hash_beside;
}

/* --- writing -----------------------------------------------------------------------------------
 */

/* Writing into room that was asked for in large steps costs the file system half. A step is
 * reserved by whoever writes its first byte, so that what a broken transfer leaves unused stays
 * small. */
static void reserve(struct flow *f, uint64_t offset, uint64_t length)
{
    uint64_t step = (offset + RESERVE_BYTES - 1) / RESERVE_BYTES * RESERVE_BYTES;
    if (f->has_size && step < offset + length && f->size - step > SAVE_EVERY_BYTES)
        file_reserve(f->fd, step, f->size - step < RESERVE_BYTES ? f->size - step : RESERVE_BYTES);
}

static void add(struct flow *f, uint64_t offset, uint64_t length, bool is_hashed)
{
    mutex_lock(&f->mutex);
    segments_add(&f->present, offset, offset + length);
    if (is_hashed)
        f->hashed += length;
    bool is_work = is_hashed_beside(f) && !f->is_waiting && !f->is_claimed &&
                   segments_from(&f->present, f->hashed) >= HASH_AT_BYTES;
    f->is_waiting |= is_work;
    mutex_unlock(&f->mutex);
    if (is_work) {
        flow_ref(f);
        hashing_post(f->beside, &f->work);
    }
}

int flow_write(struct flow *f, uint64_t offset, const void *bytes, size_t length, struct error *e)
{
    const char *from = bytes;
    uint64_t end = offset + length;
    if (f->has_size && end > f->size)
        return error_set(e, ERR_CORRUPT, "more bytes came than the %" PRIu64 " promised", f->size);
    while (offset < end) {
        uint64_t hole, room;
        if (!flow_hole(f, offset, &hole, &room) || hole >= end)
            return 0;
        size_t n = (size_t)(end - hole < room ? end - hole : room);
        const char *at = from + length - (end - hole);
        reserve(f, hole, n);
        if (file_write_all(f->fd, at, n, hole, e) < 0)
            return -1;
        bool is_hashed = !is_hashed_beside(f) && hole == f->hashed;
        if (is_hashed)
            hasher_update(f->hasher, at, n);
        add(f, hole, n, is_hashed);
        note_news(f, n);
        offset = hole + n;
    }
    return 0;
}

bool flow_wanted(struct flow *f, uint64_t after, uint64_t *offset)
{
    struct waiter *w;
    uint64_t first = UINT64_MAX;
    MUTEX_HOLD(&f->mutex);
    STAILQ_FOREACH(w, &f->waiters, next)
    if (w->offset < FLOW_END && w->offset > after && w->offset < first && !has_news(f, w->offset))
        first = w->offset;
    *offset = first;
    return first != UINT64_MAX;
}

uint64_t flow_known_size(struct flow *f)
{
    MUTEX_HOLD(&f->mutex);
    return f->has_size ? f->size : UINT64_MAX;
}

bool flow_hole(struct flow *f, uint64_t from, uint64_t *offset, uint64_t *length)
{
    MUTEX_HOLD(&f->mutex);
    return segments_hole(&f->present, from, f->has_size ? f->size : UINT64_MAX, offset, length);
}

int flow_flush(struct flow *f)
{
    if (!f->is_dirty)
        return -1;
    int64_t now = clock_mono_ms();
    int64_t due = f->flushed_ms + FLUSH_EVERY_MS;
    if (f->news < WAKE_AT_BYTES && now < due)
        return (int)(due - now);
    f->flushed_ms = now;
    f->is_dirty = false;
    f->news = 0;
    wake_those_with_news(f);
    return -1;
}

static void end_as(struct flow *f, enum flow_state state, const struct error *why)
{
    mutex_lock(&f->mutex);
    f->state = state;
    if (why)
        f->error = *why;
    mutex_unlock(&f->mutex);
    wake_those_with_news(f);
}

int flow_finish(struct flow *f, struct error *e)
{
    struct digest found;
    char text[DIGEST_TEXT_MAX];
    claim_hasher(f);
    mutex_lock(&f->mutex);
    if (!f->has_size) {
        f->has_size = true;
        f->size = f->present.count > 0 ? f->present.parts[0].end : 0;
    }
    uint64_t size = f->size;
    mutex_unlock(&f->mutex);
    struct error why;
    if (f->hashed != size) {
        error_set(&why, ERR_IO, "only %" PRIu64 " of %" PRIu64 " bytes could be hashed", f->hashed,
                  size);
        flow_fail(f, &why);
        if (e)
            *e = why;
        return -1;
    }
    hasher_final(f->hasher, &found);
    if (!digest_equals(&found, &f->digest)) {
        error_set(&why, ERR_CORRUPT, "the bytes received are %s", digest_print(&found, text));
        if (e)
            *e = why;
        return -1;
    }
    flow_save(f);
    end_as(f, FLOW_VERIFIED, NULL);
    return 0;
}

void flow_fail(struct flow *f, const struct error *why)
{
    if (flow_state(f) >= FLOW_VERIFIED)
        return;
    if (why->kind == ERR_CORRUPT)
        store_partial_remove(f->store, &f->digest);
    else if (f->fd >= 0)
        flow_save(f);
    metric_add(flows_failed_total, 1);
    end_as(f, FLOW_FAILED, why);
}

bool flow_restart(struct flow *f)
{
    mutex_lock(&f->mutex);
    bool may = !f->was_read && f->state < FLOW_VERIFIED;
    if (may) {
        f->present.count = 0;
        f->taken_up = 0;
        if (f->state == FLOW_WAITING)
            f->has_size = false;
    }
    mutex_unlock(&f->mutex);
    if (!may)
        return false;
    claim_hasher(f);
    if (ftruncate(f->fd, 0) < 0)
        return false;
    hasher_reset(f->hasher);
    mutex_lock(&f->mutex);
    f->hashed = 0;
    f->is_claimed = false;
    mutex_unlock(&f->mutex);
    flow_save(f);
    return true;
}

void flow_save(struct flow *f)
{
    autostr struct str map = {0};
    mutex_lock(&f->mutex);
    segments_print(&f->present, f->has_size ? (int64_t)f->size : -1, &map);
    mutex_unlock(&f->mutex);
    f->unsaved = 0;
    /* A map that cannot be written costs a refetch after a crash, nothing else. */
    store_partial_write_map(f->store, &f->digest, map.text, map.length, NULL);
}
