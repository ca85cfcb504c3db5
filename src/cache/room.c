/* SPDX-License-Identifier: Apache-2.0
 * Sums that are changed in one place (`change`), so that they are right by construction: each
 * content on its way in counts with what it reserved or wrote, whichever is more. */
#include "cache/room.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/statvfs.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"

enum {
    BLOCK_BYTES = 4096,      /* of the usual file systems */
    STEP_BYTES = 8 << 20,    /* reserved at once for content of unknown size */
    FULL_FOR_MS = 60 * 1000, /* after the disk refused bytes */
    FULL_PERCENT = 98,       /* of what was taken then */
    UNREADABLE_FOR_MS = 60 * 1000,
    TELL_EVERY_MS = 60 * 1000,
    FIT_PERCENT = 95, /* of the limit: more is never made room for */
};

/* No row is believed to be larger, so that no sum of them overflows. */
#define BLOB_MAX_BYTES (UINT64_C(4) << 40)

/* One content on its way in. */
struct partial {
    UT_hash_handle hh;
    TAILQ_ENTRY(partial) next; /* while it rests: longest first */
    struct digest digest;
    int64_t reserved, written;
    bool is_active, is_resting;
};

TAILQ_HEAD(resting, partial);

struct room {
    int folder;
    _Atomic bool is_stuck;
    _Atomic int64_t told_ms; /* that content passes through */
    _Atomic int64_t unreadable_until_ms;
    struct mutex mutex; /* guards all below */
    struct room_limits limits;
    int64_t blobs, aside, index;
    int64_t partials;  /* the sum of what each reserved or wrote */
    int64_t unwritten; /* of that, what the disk does not have yet */
    int64_t wanted;    /* by those who wait */
    int64_t full_at, full_until_ms;
    struct partial *table;
    struct resting resting;
};

struct room *room_new(int folder)
{
    struct room *r = alloc_zero(sizeof *r);
    r->folder = folder;
    r->limits.budget_bytes = -1;
    TAILQ_INIT(&r->resting);
    mutex_init(&r->mutex, RANK_ROOM);
    return r;
}

void room_free(struct room *r)
{
    struct partial *p = r->table;
    HASH_CLEAR(hh, r->table); /* the table: what was in it is still in a row */
    while (p) {
        struct partial *after = p->hh.next;
        free(p);
        p = after;
    }
    mutex_fini(&r->mutex);
    free(r);
}

void room_set_limits(struct room *r, const struct room_limits *l)
{
    MUTEX_HOLD(&r->mutex);
    r->limits = *l;
    atomic_store(&r->is_stuck, false);
    metric_set(budget_bytes, l->budget_bytes > 0 ? l->budget_bytes : 0);
}

int64_t room_of_file(uint64_t size_bytes)
{
    uint64_t size = size_bytes < BLOB_MAX_BYTES ? size_bytes : BLOB_MAX_BYTES;
    return (int64_t)((size + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES);
}

/* --- the limit -------------------------------------------------------------------------------- */

/* What the file system has free and has in all (0: it does not tell, its writes will): asked
 * without the mutex, before it is taken. */
struct disk {
    int64_t free_bytes, total_bytes;
};

static struct disk look_at_disk(const struct room *r)
{
    struct statvfs s;
    if (fstatvfs(r->folder, &s) < 0)
        return (struct disk){0};
    int64_t each = (int64_t)s.f_frsize;
    return (struct disk){each * (int64_t)s.f_bavail, each * (int64_t)s.f_blocks};
}

static int64_t taken(const struct room *r)
{
    return r->blobs + r->aside + r->index + r->partials;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t limit_now(const struct room *r, const struct disk *disk)
{
    const struct room_limits *l = &r->limits;
    int64_t limit = l->budget_bytes >= 0 ? l->budget_bytes : INT64_MAX;
    int64_t keep = l->keep_free_bytes > 0 ? l->keep_free_bytes
                                          : disk->total_bytes / 100 * l->keep_free_percent;
    if (disk->total_bytes > 0)
        limit = least(limit, taken(r) - r->unwritten + disk->free_bytes - keep);
    if (clock_mono_ms() < r->full_until_ms)
        limit = least(limit, r->full_at);
    return limit > 0 ? limit : 0;
}

int64_t room_limit(struct room *r)
{
    struct disk disk = look_at_disk(r);
    MUTEX_HOLD(&r->mutex);
    return limit_now(r, &disk);
}

int64_t room_taken(struct room *r)
{
    MUTEX_HOLD(&r->mutex);
    return taken(r);
}

static int64_t percent_of(int64_t whole, int percent)
{
    return whole == INT64_MAX ? whole : whole / 100 * percent + whole % 100 * percent / 100;
}

int64_t room_excess(struct room *r, int percent)
{
    struct disk disk = look_at_disk(r);
    MUTEX_HOLD(&r->mutex);
    int64_t limit = limit_now(r, &disk), level = percent_of(limit, percent);
    if (limit == INT64_MAX)
        return 0;
    /* Who waits is added to what is taken; he never gets past the level that is kept anyway. */
    int64_t with_waiting = taken(r) + r->wanted - limit, above = taken(r) - level;
    int64_t most = with_waiting > above ? with_waiting : above;
    return most > 0 ? most : 0;
}

int64_t room_budget(struct room *r)
{
    MUTEX_HOLD(&r->mutex);
    return r->limits.budget_bytes;
}

bool room_budget_holds(int64_t budget_bytes, int64_t bytes)
{
    return budget_bytes < 0 || bytes <= percent_of(budget_bytes, FIT_PERCENT);
}

bool room_could_fit(struct room *r, uint64_t size_bytes)
{
    struct disk disk = look_at_disk(r);
    MUTEX_HOLD(&r->mutex);
    return size_bytes <= (uint64_t)percent_of(limit_now(r, &disk), FIT_PERCENT);
}

/* --- what is kept ----------------------------------------------------------------------------- */

static void change_kept(struct room *r, int64_t *which, int64_t bytes)
{
    *which += bytes;
    metric_set(blob_bytes, r->blobs + r->aside);
    if (bytes < 0)
        atomic_store(&r->is_stuck, false);
}

void room_add_blobs(struct room *r, int64_t bytes)
{
    MUTEX_HOLD(&r->mutex);
    change_kept(r, &r->blobs, bytes);
}

void room_set_blobs(struct room *r, int64_t bytes)
{
    MUTEX_HOLD(&r->mutex);
    change_kept(r, &r->blobs, bytes - r->blobs);
}

void room_add_aside(struct room *r, int64_t bytes)
{
    MUTEX_HOLD(&r->mutex);
    change_kept(r, &r->aside, bytes);
}

void room_set_index(struct room *r, int64_t bytes)
{
    MUTEX_HOLD(&r->mutex);
    r->index = bytes;
    metric_set(index_bytes, bytes);
}

/* --- on its way in ---------------------------------------------------------------------------- */

static int64_t most_of(const struct partial *p)
{
    return p->reserved > p->written ? p->reserved : p->written;
}

static void change(struct room *r, struct partial *p, int64_t reserved, int64_t written)
{
    r->partials -= most_of(p);
    r->unwritten -= most_of(p) - p->written;
    p->reserved = reserved;
    p->written = written;
    r->partials += most_of(p);
    r->unwritten += most_of(p) - p->written;
    metric_set(partial_bytes, r->partials - r->unwritten);
    metric_set(reserved_bytes, r->unwritten);
}

static struct partial *find(struct room *r, const struct digest *d)
{
    struct partial *p;
    HASH_FIND(hh, r->table, d, sizeof *d, p);
    return p;
}

static struct partial *find_or_add(struct room *r, const struct digest *d)
{
    struct partial *p = find(r, d);
    if (p)
        return p;
    p = alloc_zero(sizeof *p);
    p->digest = *d;
    HASH_ADD(hh, r->table, digest, sizeof p->digest, p);
    return p;
}

static void stop_resting(struct room *r, struct partial *p)
{
    if (p->is_resting)
        TAILQ_REMOVE(&r->resting, p, next);
    p->is_resting = false;
}

static void drop(struct room *r, struct partial *p)
{
    change(r, p, 0, 0);
    stop_resting(r, p);
    HASH_DEL(r->table, p);
    free(p);
    atomic_store(&r->is_stuck, false);
}

/* What it has taken to reach bytes in all, if the limit has that much left. */
static bool reserve(struct room *r, struct partial *p, int64_t bytes, const struct disk *disk)
{
    int64_t more = bytes - most_of(p);
    if (more <= 0)
        return true;
    if (more > limit_now(r, disk) - taken(r))
        return false;
    change(r, p, bytes, p->written);
    return true;
}

bool room_reserve(struct room *r, const struct digest *d, uint64_t size_bytes)
{
    struct disk disk = look_at_disk(r);
    MUTEX_HOLD(&r->mutex);
    struct partial *p = find_or_add(r, d);
    bool fits = reserve(r, p, room_of_file(size_bytes), &disk);
    if (fits)
        stop_resting(r, p);
    else if (most_of(p) == 0 && !p->is_active)
        drop(r, p);
    return fits;
}

void room_begin(struct room *r, const struct digest *d, uint64_t bytes)
{
    MUTEX_HOLD(&r->mutex);
    struct partial *p = find_or_add(r, d);
    change(r, p, p->reserved, (int64_t)bytes);
    stop_resting(r, p);
    p->is_active = true;
}

bool room_write(struct room *r, const struct digest *d, int64_t bytes)
{
    struct disk disk = {0};
    bool has_looked = false;
    for (;;) {
        mutex_lock(&r->mutex);
        struct partial *p = find_or_add(r, d);
        int64_t written = p->written + bytes;
        bool fits = bytes <= 0 || written <= p->reserved ||
                    (has_looked && reserve(r, p, written + STEP_BYTES, &disk)) ||
                    (has_looked && reserve(r, p, written, &disk));
        if (fits)
            change(r, p, p->reserved, written);
        mutex_unlock(&r->mutex);
        if (fits || has_looked)
            return fits;
        disk = look_at_disk(r);
        has_looked = true;
    }
}

void room_rest(struct room *r, const struct digest *d, int64_t bytes)
{
    MUTEX_HOLD(&r->mutex);
    struct partial *p = find_or_add(r, d);
    change(r, p, 0, bytes < 0 ? p->written : bytes);
    if (p->written == 0) {
        drop(r, p);
        return;
    }
    p->is_active = false;
    stop_resting(r, p);
    TAILQ_INSERT_TAIL(&r->resting, p, next);
    p->is_resting = true;
}

void room_end(struct room *r, const struct digest *d)
{
    MUTEX_HOLD(&r->mutex);
    struct partial *p = find(r, d);
    if (p)
        drop(r, p);
}

int64_t room_take_resting(struct room *r, struct digest *d)
{
    MUTEX_HOLD(&r->mutex);
    struct partial *p = TAILQ_FIRST(&r->resting);
    if (!p)
        return 0;
    int64_t bytes = p->written;
    *d = p->digest;
    drop(r, p);
    return bytes;
}

/* --- making room ------------------------------------------------------------------------------ */

void room_want(struct room *r, int64_t bytes)
{
    MUTEX_HOLD(&r->mutex);
    r->wanted += bytes;
}

void room_set_stuck(struct room *r, bool is_stuck)
{
    atomic_store(&r->is_stuck, is_stuck);
}

bool room_is_stuck(const struct room *r)
{
    return atomic_load(&r->is_stuck);
}

void room_note_passing(struct room *r, const char *why)
{
    int64_t now_ms = clock_mono_ms() + 1, last_ms = atomic_load(&r->told_ms);
    metric_add(passed_through_total, 1);
    if ((last_ms > 0 && now_ms < last_ms + TELL_EVERY_MS) ||
        !atomic_compare_exchange_strong(&r->told_ms, &last_ms, now_ms))
        return;
    log_event(LOG_LEVEL_WARNING, "content passes through without being stored",
              LOG_S("reason", why), LOG_I("taken", room_taken(r)), LOG_I("limit", room_limit(r)),
              LOG_END);
}

void room_note_full(struct room *r)
{
    struct disk disk = look_at_disk(r);
    MUTEX_HOLD(&r->mutex);
    if (clock_mono_ms() < r->full_until_ms || limit_now(r, &disk) - taken(r) < STEP_BYTES)
        return;
    r->full_at = percent_of(taken(r) - r->unwritten, FULL_PERCENT);
    r->full_until_ms = clock_mono_ms() + FULL_FOR_MS;
}

void room_note_unreadable(struct room *r)
{
    atomic_store(&r->unreadable_until_ms, clock_mono_ms() + UNREADABLE_FOR_MS);
}

bool room_is_unreadable(const struct room *r)
{
    return clock_mono_ms() < atomic_load(&r->unreadable_until_ms);
}
