/* SPDX-License-Identifier: Apache-2.0
 * What is present is changed by the producer alone, under the mutex and after the bytes are in the
 * file, so a reader that sees a segment may read it without the lock. Waiters are woken from a
 * private list with no lock held. */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/metrics.h"
#include "base/str.h"
#include "cache/flow_inside.h"
#include "cache/room.h"
#include "cache/store.h"

enum {
    GIVEN_PARTS_MAX = 256, /* beyond, what lies between them is taken as given */
    SAVE_EVERY_BYTES = 4 << 20,
    FLUSH_EVERY_MS = 2,
    WAKE_AT_BYTES = 256 << 10, /* this much news is worth a wake-up before FLUSH_EVERY_MS is over */
    GATHER_BYTES = 256 << 10,  /* of a large blob are written at once */
    RESERVE_BYTES = 16 << 20,  /* of disk, asked for at once */
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
    cond_init(&f->is_free);
    STAILQ_INIT(&f->waiters);
    window_init(&f->window);
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
    segments_fini(&f->given);
    segments_fini(&f->doubted);
    segments_fini(&f->kept);
    window_fini(&f->window);
    free(f->gathered);
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

static bool look_at_size(const struct flow *f, uint64_t *size_bytes)
{
    /* A descriptor's promise is no size yet: an upstream has to confirm it first. */
    if (f->state == FLOW_WAITING || !f->has_size)
        return false;
    *size_bytes = f->size;
    return true;
}

bool flow_size(struct flow *f, uint64_t *size_bytes)
{
    MUTEX_HOLD(&f->mutex);
    return look_at_size(f, size_bytes);
}

bool flow_tell_size(struct flow *f, uint64_t *size_bytes)
{
    MUTEX_HOLD(&f->mutex);
    if (!look_at_size(f, size_bytes))
        return false;
    f->was_told = true;
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
    if (f->state == FLOW_VERIFIED || n == 0)
        return n;
    uint64_t until_doubted = segments_next(&f->doubted, offset) - offset;
    if (reaches_the_end)
        n--; /* the newest byte is held back */
    return n < until_doubted ? n : until_doubted;
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

/* What was written is not given back: whoever asks next is not to depend on it. */
ssize_t flow_read_file(struct flow *f, void *into, size_t max, uint64_t offset, struct error *e)
{
    ssize_t got = file_read_some(f->fd, into, max, offset, e);
    if (got <= 0) {
        room_note_unreadable(store_room(f->store));
        atomic_store(&f->is_unreadable, true);
    }
    return got;
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
        if (n > max)
            n = max;
        if (n > 0 && f->state != FLOW_VERIFIED) {
            segments_add(&f->given, offset, offset + n);
            segments_thin(&f->given, GIVEN_PARTS_MAX);
        }
        if (n > 0 && flow_is_passing(f)) {
            if (flow_copy_from_window(f, offset, into, &n))
                return (ssize_t)n;
            if (n == 0)
                return error_set(e, ERR_NO_SPACE, "this part passed through and was not kept");
        }
    }
    if (n == 0)
        return 0;
    ssize_t got = flow_read_file(f, into, (size_t)n, offset, e);
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

/* What is a hole was never written, or a power cut took it. */
static void remove_holes(int fd, struct segments *s)
{
    struct segments holes = {0};
    for (size_t i = 0; i < s->count; i++) {
        uint64_t at = s->parts[i].first, first, after;
        for (; file_find_hole(fd, at, s->parts[i].end, &first, &after); at = after)
            segments_add(&holes, first, after);
    }
    segments_subtract(s, &holes);
    segments_fini(&holes);
}

static void take_up(struct flow *f, const char *text)
{
    int64_t size = -1;
    struct segments found = {0};
    off_t length = lseek(f->fd, 0, SEEK_END);
    bool is_good = segments_read(&found, text, &size) && length >= 0 &&
                   segments_end(&found) <= (uint64_t)length;
    if (is_good)
        remove_holes(f->fd, &found);
    MUTEX_HOLD(&f->mutex);
    if (!is_good || found.count == 0 || (f->has_size && size >= 0 && f->size != (uint64_t)size)) {
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

static void take_up_file(struct flow *f)
{
    struct error e;
    autofree char *map = NULL;
    size_t length;
    if (room_is_unreadable(store_room(f->store)))
        error_set(&e, ERR_IO, "the disk did not give back what was written");
    else
        f->fd = store_partial_open(f->store, &f->digest, &e);
    if (f->fd < 0) {
        flow_pass(f, &e);
        return;
    }
    if (store_partial_read_map(f->store, &f->digest, &map, &length, NULL) == 1)
        take_up(f, map);
    /* What lies behind the last present byte is nobody's: it must not become part of the blob. */
    if (ftruncate(f->fd, (off_t)segments_end(&f->present)) < 0) {
        error_errno(&e, "cut a partial file");
        mutex_lock(&f->mutex);
        f->present.count = 0; /* nobody has read yet */
        mutex_unlock(&f->mutex);
        flow_pass(f, &e);
        return;
    }
    room_begin(store_room(f->store), &f->digest, flow_present(f));
}

void flow_open(struct flow *f)
{
    if (!flow_is_passing(f))
        take_up_file(f);
    metric_add(flows_started_total, 1);
    if (f->present.count > 0)
        metric_add(flows_resumed_total, 1);
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
    if (!flow_is_passing(f))
        room_reserve(store_room(f->store), &f->digest, size_bytes); /* or in steps, as it comes */
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

/* Writing into room that was asked for in large steps costs the file system half. A step is
 * reserved by whoever writes its first byte, so that what a broken transfer leaves unused stays
 * small. */
static void reserve(struct flow *f, uint64_t offset, uint64_t length)
{
    uint64_t step = (offset + RESERVE_BYTES - 1) / RESERVE_BYTES * RESERVE_BYTES;
    if (f->has_size && step < offset + length && f->size - step > SAVE_EVERY_BYTES)
        file_reserve(f->fd, step, f->size - step < RESERVE_BYTES ? f->size - step : RESERVE_BYTES);
}

static bool find_hole(struct flow *f, uint64_t from, uint64_t *offset, uint64_t *length)
{
    MUTEX_HOLD(&f->mutex);
    return segments_hole(&f->present, from, f->has_size ? f->size : UINT64_MAX, offset, length);
}

static int write_file(struct flow *f, uint64_t offset, const void *bytes, size_t length,
                      struct error *e)
{
    struct room *room = store_room(f->store);
    if (!room_write(room, &f->digest, (int64_t)length))
        return error_set(e, ERR_NO_SPACE, "nothing more fits into the budget");
    reserve(f, offset, length);
    if (file_write_all(f->fd, bytes, length, offset, e) == 0)
        return 0;
    if (e->kind == ERR_NO_SPACE)
        room_note_full(room);
    return -1;
}

static int put_one(struct flow *f, uint64_t offset, const char *bytes, size_t length,
                   struct error *e)
{
    if (!flow_is_passing(f) && write_file(f, offset, bytes, length, e) < 0)
        return -1;
    /* What cannot be read back cannot be hashed: the next byte will never be the right one. */
    if (flow_is_passing(f) && offset != f->hashed)
        return error_set(e, atomic_load(&f->is_unreadable) ? ERR_IO : ERR_NO_SPACE,
                         "what passes comes in order");
    flow_hash_bytes(f, bytes, length, offset);
    mutex_lock(&f->mutex);
    segments_add(&f->present, offset, offset + length);
    if (flow_is_passing(f))
        window_add(&f->window, offset, bytes, length);
    mutex_unlock(&f->mutex);
    flow_hash_news(f);
    note_news(f, length);
    return 0;
}

static int put(struct flow *f, uint64_t offset, const char *bytes, size_t length, struct error *e)
{
    uint64_t end = offset + length;
    while (offset < end) {
        uint64_t hole, room;
        if (!find_hole(f, offset, &hole, &room) || hole >= end)
            return 0;
        size_t n = (size_t)(end - hole < room ? end - hole : room);
        if (put_one(f, hole, bytes + length - (end - hole), n, e) < 0)
            return -1;
        offset = hole + n;
    }
    return 0;
}

/* What cannot be written is missing, and whoever fills it finds that it passes. */
static int write_out(struct flow *f)
{
    struct error why;
    if (f->gathered_bytes == 0)
        return 0;
    int result = put(f, f->gathered_at, f->gathered, f->gathered_bytes, &why);
    f->gathered_bytes = 0;
    if (result < 0)
        flow_pass(f, &why);
    return result;
}

/* libcurl hands over 16 KiB at a time; the file system takes 256 in half the time of 16 times 16.
 */
static int gather(struct flow *f, uint64_t offset, const char *bytes, size_t length)
{
    if (!f->gathered)
        f->gathered = alloc_array(GATHER_BYTES, 1);
    for (size_t n; length > 0; offset += n, bytes += n, length -= n) {
        if (offset != f->gathered_at + f->gathered_bytes && write_out(f) < 0)
            return -1;
        if (f->gathered_bytes == 0)
            f->gathered_at = offset;
        size_t room = GATHER_BYTES - (size_t)(offset % GATHER_BYTES);
        n = length < room ? length : room;
        memcpy(f->gathered + f->gathered_bytes, bytes, n);
        f->gathered_bytes += n;
        if (n == room && write_out(f) < 0)
            return -1;
    }
    return 0;
}

int flow_write(struct flow *f, uint64_t offset, const void *bytes, size_t length, struct error *e)
{
    if (f->has_size && offset + length > f->size)
        return error_set(e, ERR_CORRUPT, "more bytes came than the %" PRIu64 " promised", f->size);
    struct error why = {0};
    if (!flow_is_passing(f)) {
        if (flow_is_large(f) ? gather(f, offset, bytes, length) == 0
                             : put(f, offset, bytes, length, &why) == 0)
            return 0;
        flow_pass(f, &why);
    }
    return put(f, offset, bytes, length, e);
}

bool flow_wanted(struct flow *f, uint64_t after, uint64_t *offset)
{
    struct waiter *w;
    uint64_t first = UINT64_MAX;
    MUTEX_HOLD(&f->mutex);
    STAILQ_FOREACH(w, &f->waiters, next)
    if (w->offset < FLOW_END && w->offset > after && w->offset < first &&
        segments_from(&f->present, w->offset) == 0)
        first = w->offset;
    *offset = first;
    return first != UINT64_MAX;
}

bool flow_is_followed(struct flow *f)
{
    MUTEX_HOLD(&f->mutex);
    return f->given.count > 0 || !STAILQ_EMPTY(&f->waiters);
}

uint64_t flow_known_size(struct flow *f)
{
    MUTEX_HOLD(&f->mutex);
    return f->has_size ? f->size : UINT64_MAX;
}

bool flow_hole(struct flow *f, uint64_t from, uint64_t *offset, uint64_t *length)
{
    (void)write_out(f);
    return find_hole(f, from, offset, length);
}

int flow_flush(struct flow *f)
{
    if (!f->is_dirty && f->gathered_bytes == 0)
        return -1;
    int64_t now = clock_mono_ms();
    int64_t due = f->flushed_ms + FLUSH_EVERY_MS;
    if (f->news < WAKE_AT_BYTES && now < due)
        return (int)(due - now);
    if (now >= due)
        (void)write_out(f);
    f->flushed_ms = now;
    f->is_dirty = false;
    f->news = 0;
    wake_those_with_news(f);
    return f->gathered_bytes > 0 ? FLUSH_EVERY_MS : -1;
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
    flow_hash_claim(f);
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

/* What is left of it for the next one, and how much of the disk that takes. */
static void leave_partial(struct flow *f, const struct error *why)
{
    struct stat st;
    struct room *room = store_room(f->store);
    if (why->kind == ERR_CORRUPT) {
        store_partial_remove(f->store, &f->digest);
    } else if (f->fd < 0) {
        room_rest(room, &f->digest, -1); /* reserved, and never begun */
    } else if (write_out(f) == 0) {
        flow_save(f);
        room_rest(room, &f->digest, fstat(f->fd, &st) == 0 ? 512 * (int64_t)st.st_blocks : -1);
    }
}

void flow_fail(struct flow *f, const struct error *why)
{
    if (flow_state(f) >= FLOW_VERIFIED)
        return;
    if (!flow_is_passing(f))
        leave_partial(f, why);
    metric_add(flows_failed_total, 1);
    end_as(f, FLOW_FAILED, why);
}

void flow_save(struct flow *f)
{
    f->unsaved = 0;
    if (flow_is_passing(f))
        return;
    autostr struct str map = {0};
    mutex_lock(&f->mutex);
    segments_print(&f->present, f->has_size ? (int64_t)f->size : -1, &map);
    mutex_unlock(&f->mutex);
    /* A map that cannot be written costs a refetch after a crash, nothing else. */
    store_partial_write_map(f->store, &f->digest, map.text, map.length, NULL);
}
