/* SPDX-License-Identifier: Apache-2.0
 * Present bytes are a sorted array of segments; only the producer changes it, under the mutex,
 * after the bytes are in the file, so a reader that sees a segment may read it without the lock.
 * The hash runs along the contiguous prefix and belongs to the producer alone. Waiters are woken
 * from a private list with no lock held. */
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
#include "cache/store.h"

enum {
    SAVE_EVERY_BYTES = 4 << 20,
    FLUSH_EVERY_MS = 2,
    WAKE_AT_BYTES = 256 << 10, /* this much news is worth a wake-up before FLUSH_EVERY_MS is over */
    CATCH_UP_CHUNK = 256 << 10,
};

struct segment {
    uint64_t first, end;
};

STAILQ_HEAD(waiters, waiter);

struct flow {
    atomic_uint references;
    struct store *store;
    struct digest digest;
    int fd;                /* set by flow_open, before the first segment */
    struct hasher *hasher; /* producer */
    uint64_t hashed;       /* producer: prefix that went through the hasher */
    uint64_t unsaved;      /* producer: bytes written since the map was */
    int64_t flushed_ms;    /* producer */
    bool is_dirty;         /* producer: news since the last flush */
    uint64_t news;         /* producer: bytes of it */

    struct mutex mutex; /* guards all below */
    enum flow_state state;
    bool has_size, is_promised, was_told, was_read; /* told: the size, to a client */
    uint64_t size;
    struct segment *segments;
    size_t count, room;
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
    f->has_size = f->is_promised = size_bytes >= 0;
    f->size = f->has_size ? (uint64_t)size_bytes : 0;
    f->began_ms = clock_mono_ms();
    mutex_init(&f->mutex, RANK_FLOW);
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
    free(f->segments);
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

bool flow_tell_size(struct flow *f, uint64_t *size_bytes)
{
    MUTEX_HOLD(&f->mutex);
    if (f->state == FLOW_WAITING || !f->has_size)
        return false;
    f->was_told = true;
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

/* --- with the mutex held ---------------------------------------------------------------------- */

static uint64_t present(const struct flow *f)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < f->count; i++)
        sum += f->segments[i].end - f->segments[i].first;
    return sum;
}

static uint64_t present_from(const struct flow *f, uint64_t offset)
{
    for (size_t i = 0; i < f->count; i++)
        if (offset >= f->segments[i].first && offset < f->segments[i].end)
            return f->segments[i].end - offset;
    return 0;
}

static uint64_t readable(const struct flow *f, uint64_t offset)
{
    uint64_t n = present_from(f, offset);
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

static void add_segment(struct flow *f, uint64_t first, uint64_t end)
{
    size_t i = 0;
    while (i < f->count && f->segments[i].end < first)
        i++;
    size_t j = i;
    while (j < f->count && f->segments[j].first <= end) {
        first = first < f->segments[j].first ? first : f->segments[j].first;
        end = end > f->segments[j].end ? end : f->segments[j].end;
        j++;
    }
    if (j == i) {
        if (f->count == f->room) {
            f->room = f->room ? f->room * 2 : 4;
            f->segments = alloc_grow(f->segments, f->room, sizeof *f->segments);
        }
        memmove(f->segments + i + 1, f->segments + i, (f->count - i) * sizeof *f->segments);
        f->count++;
    } else {
        memmove(f->segments + i + 1, f->segments + j, (f->count - j) * sizeof *f->segments);
        f->count -= j - i - 1;
    }
    f->segments[i] = (struct segment){first, end};
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

uint64_t flow_present(struct flow *f)
{
    MUTEX_HOLD(&f->mutex);
    return present(f);
}

uint64_t flow_rate(struct flow *f)
{
    int64_t ms = clock_mono_ms() - f->began_ms;
    MUTEX_HOLD(&f->mutex);
    uint64_t here = present(f);
    return here > f->taken_up ? (here - f->taken_up) * 1000 / (uint64_t)(ms > 0 ? ms : 1) : 0;
}

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

/* The map: a line "tranship-map 1 <size or -1>", then "first end" a line. */
static bool read_map(const char *text, int64_t *size, struct segment *segments, size_t *count,
                     size_t max)
{
    int used = 0;
    if (sscanf(text, "tranship-map 1 %" SCNd64 "\n%n", size, &used) != 1 || used == 0)
        return false;
    uint64_t last = 0;
    for (*count = 0; text[used]; ++*count) {
        struct segment s;
        int more = 0;
        if (*count == max ||
            sscanf(text + used, "%" SCNu64 " %" SCNu64 "\n%n", &s.first, &s.end, &more) != 2)
            return false;
        if (more == 0 || s.end <= s.first || s.first < last ||
            (*size >= 0 && s.end > (uint64_t)*size))
            return false;
        last = s.end;
        segments[*count] = s;
        used += more;
    }
    return *count > 0;
}

enum { MAP_MAX_SEGMENTS = 4096 };

static void take_up(struct flow *f, const char *text)
{
    int64_t size = -1;
    size_t count = 0;
    autofree struct segment *segments = alloc_array(MAP_MAX_SEGMENTS, sizeof *segments);
    off_t length = lseek(f->fd, 0, SEEK_END);
    if (!read_map(text, &size, segments, &count, MAP_MAX_SEGMENTS) || length < 0 ||
        segments[count - 1].end > (uint64_t)length)
        return;
    MUTEX_HOLD(&f->mutex);
    if (f->has_size && size >= 0 && f->size != (uint64_t)size)
        return;
    if (size >= 0) {
        f->has_size = true;
        f->size = (uint64_t)size;
    }
    for (size_t i = 0; i < count; i++)
        add_segment(f, segments[i].first, segments[i].end);
    f->taken_up = present(f);
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
    if (ftruncate(f->fd, f->count > 0 ? (off_t)f->segments[f->count - 1].end : 0) < 0)
        return error_errno(e, "cut a partial file");
    metric_add(flows_started_total, 1);
    if (f->count > 0)
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
        if (f->count > 0 && f->segments[f->count - 1].end > size_bytes)
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
        if (file_write_all(f->fd, at, n, hole, e) < 0)
            return -1;
        if (hole == f->hashed) {
            hasher_update(f->hasher, at, n);
            f->hashed += n;
        }
        mutex_lock(&f->mutex);
        add_segment(f, hole, hole + n);
        mutex_unlock(&f->mutex);
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
    uint64_t at = from, end = f->has_size ? f->size : UINT64_MAX;
    for (size_t i = 0; i < f->count; i++) {
        if (at < f->segments[i].first) {
            end = f->segments[i].first;
            break;
        }
        if (at < f->segments[i].end)
            at = f->segments[i].end;
    }
    if (at >= end)
        return false;
    *offset = at;
    *length = end == UINT64_MAX ? UINT64_MAX : end - at;
    return true;
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

bool flow_catch_up(struct flow *f, size_t max)
{
    autofree char *chunk = NULL;
    while (max > 0) {
        mutex_lock(&f->mutex);
        uint64_t n = present_from(f, f->hashed);
        mutex_unlock(&f->mutex);
        if (n == 0)
            return false;
        if (!chunk)
            chunk = alloc_array(CATCH_UP_CHUNK, 1);
        size_t want = n < CATCH_UP_CHUNK ? (size_t)n : CATCH_UP_CHUNK;
        ssize_t got = file_read_some(f->fd, chunk, want, f->hashed, NULL);
        if (got <= 0)
            return false; /* flow_finish will find the hash short of the end and fail */
        hasher_update(f->hasher, chunk, (size_t)got);
        f->hashed += (uint64_t)got;
        max -= (size_t)got < max ? (size_t)got : max;
    }
    MUTEX_HOLD(&f->mutex);
    return present_from(f, f->hashed) > 0;
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
    mutex_lock(&f->mutex);
    if (!f->has_size) {
        f->has_size = true;
        f->size = f->count > 0 ? f->segments[0].end : 0;
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
        f->count = 0;
        f->taken_up = 0;
        if (f->state == FLOW_WAITING || !(f->is_promised || f->was_told)) {
            f->state = FLOW_WAITING;
            f->has_size = false;
        }
    }
    mutex_unlock(&f->mutex);
    if (!may || ftruncate(f->fd, 0) < 0)
        return false;
    hasher_reset(f->hasher);
    f->hashed = 0;
    flow_save(f);
    return true;
}

void flow_save(struct flow *f)
{
    autostr struct str map = {0};
    mutex_lock(&f->mutex);
    str_format(&map, "tranship-map 1 %" PRId64 "\n", f->has_size ? (int64_t)f->size : -1);
    for (size_t i = 0; i < f->count; i++)
        str_format(&map, "%" PRIu64 " %" PRIu64 "\n", f->segments[i].first, f->segments[i].end);
    mutex_unlock(&f->mutex);
    f->unsaved = 0;
    /* A map that cannot be written costs a refetch after a crash, nothing else. */
    store_partial_write_map(f->store, &f->digest, map.text, map.length, NULL);
}
