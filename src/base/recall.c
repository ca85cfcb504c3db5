/* SPDX-License-Identifier: Apache-2.0
 * The bounded memory. Knows keys as bytes and objects as two functions; refuses to know what they
 * are. One hash picks both the shard and the bucket; it is keyed, since strangers choose the names
 * that become keys. Each shard has its own lock, list and share of the budget, so two requests
 * seldom meet. */
#include "base/recall.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/thread.h"

#define uthash_malloc(bytes) alloc_zero(bytes)
#include <uthash.h>

enum { SHARD_BITS = 4, SHARDS = 1 << SHARD_BITS };

struct entry {
    UT_hash_handle hh;
    TAILQ_ENTRY(entry) by_use;
    void *object;
    size_t bytes; /* counted against the budget */
    char key[];
};
TAILQ_HEAD(entries, entry);

/* What an entry takes beside its key: itself, its place in the table, the allocator's own. */
enum { ENTRY_BYTES = sizeof(struct entry) + sizeof(UT_hash_bucket) + 2 * sizeof(size_t) };

struct shard {
    struct mutex mutex; /* guards the table, the list and bytes */
    struct entry *table;
    struct entries by_use; /* least recently used first */
    size_t bytes;
} __attribute__((aligned(64))); /* or neighbours would fight over a cache line */

struct recall {
    void (*ref)(void *object);
    void (*unref)(void *object);
    size_t shard_max_bytes;
    uint64_t seed;
    struct shard *shards;
};

struct place {
    struct shard *shard;
    unsigned hash;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static struct place place_of(const struct recall *r, const void *key, size_t key_bytes)
{
    const uint64_t odd = 0x9E3779B97F4A7C15; /* 2^64 divided by the golden ratio */
    const char *at = key;
    uint64_t hash = r->seed ^ key_bytes;
    for (size_t left = key_bytes; left;) {
        uint64_t word = 0;
        size_t length = left < sizeof(word) ? left : sizeof(word);
        memcpy(&word, at, length);
        hash = mix(hash ^ word, odd ^ (r->seed >> 1));
        at += length;
        left -= length;
    }
    hash = mix(hash, odd);
    return (struct place){&r->shards[hash >> (64 - SHARD_BITS)], (unsigned)hash};
}

static struct entry *find(const struct place *at, const void *key, size_t key_bytes)
{
    struct entry *found = NULL;
    HASH_FIND_BYHASHVALUE(hh, at->shard->table, key, (unsigned)key_bytes, at->hash, found);
    return found;
}

/* With the shard's lock held: moves an entry to those that are dropped once it is released. */
static void take_out(struct shard *s, struct entry *old, struct entries *dropped)
{
    assert(s->table && old); /* bytes are counted, so there is an entry that has them */
    HASH_DELETE(hh, s->table, old);
    TAILQ_REMOVE(&s->by_use, old, by_use);
    s->bytes -= old->bytes;
    metric_add(recall_bytes, -(int64_t)old->bytes);
    TAILQ_INSERT_TAIL(dropped, old, by_use);
}

static void drop(const struct recall *r, struct entries *dropped)
{
    struct entry *old;
    while ((old = TAILQ_FIRST(dropped))) {
        TAILQ_REMOVE(dropped, old, by_use);
        r->unref(old->object);
        free(old);
    }
}

static uint64_t random_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
        seed = (uint64_t)clock_mono_us(); /* too early after boot: better than none */
    return seed;
}

struct recall *recall_new(size_t max_bytes, void (*ref)(void *object), void (*unref)(void *object))
{
    struct recall *r = alloc_zero(sizeof(*r));
    r->ref = ref;
    r->unref = unref;
    r->shard_max_bytes = max_bytes / SHARDS;
    r->seed = random_seed();
    r->shards = alloc_aligned(64, SHARDS * sizeof(*r->shards));
    for (size_t i = 0; i < SHARDS; i++) {
        mutex_init(&r->shards[i].mutex, RANK_RECALL);
        TAILQ_INIT(&r->shards[i].by_use);
    }
    return r;
}

void recall_clear(struct recall *r)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &r->shards[i];
        struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
        {
            struct entry *old;
            MUTEX_HOLD(&s->mutex);
            while ((old = TAILQ_FIRST(&s->by_use)))
                take_out(s, old, &dropped);
        }
        drop(r, &dropped);
    }
}

void recall_each(struct recall *r, void (*visit)(void *object, void *cls), void *cls)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &r->shards[i];
        autofree void **all = NULL;
        size_t count = 0;
        {
            const struct entry *one;
            MUTEX_HOLD(&s->mutex);
            all = alloc_array(HASH_COUNT(s->table) + 1, sizeof *all);
            TAILQ_FOREACH(one, &s->by_use, by_use)
            {
                r->ref(one->object);
                all[count++] = one->object;
            }
        }
        for (size_t k = 0; k < count; k++) {
            visit(all[k], cls);
            r->unref(all[k]);
        }
    }
}

void recall_free(struct recall *r)
{
    if (!r)
        return;
    recall_clear(r);
    for (size_t i = 0; i < SHARDS; i++) /* now that no object's end can ask any more */
        mutex_fini(&r->shards[i].mutex);
    free(r->shards);
    free(r);
}

void *recall_get(struct recall *r, const void *key, size_t key_bytes)
{
    const struct place at = place_of(r, key, key_bytes);
    MUTEX_HOLD(&at.shard->mutex);
    struct entry *found = find(&at, key, key_bytes);
    if (!found)
        return NULL;
    if (TAILQ_NEXT(found, by_use)) {
        TAILQ_REMOVE(&at.shard->by_use, found, by_use);
        TAILQ_INSERT_TAIL(&at.shard->by_use, found, by_use);
    }
    /* Under the lock, or another thread could drop the last reference in between. */
    r->ref(found->object);
    return found->object;
}

/* Returns a reference to the object that was there and stays (keeps_old), else NULL. */
static void *put(struct recall *r, const void *key, size_t key_bytes, void *object,
                 size_t cost_bytes, bool keeps_old)
{
    const struct place at = place_of(r, key, key_bytes);
    size_t bytes;
    bool is_too_heavy = __builtin_add_overflow(key_bytes + ENTRY_BYTES, cost_bytes, &bytes) ||
                        bytes > r->shard_max_bytes;
    if (is_too_heavy) { /* what was there is out of date all the same */
        if (!keeps_old)
            recall_forget(r, key, key_bytes);
        return keeps_old ? recall_get(r, key, key_bytes) : NULL;
    }
    struct entry *fresh = alloc_zero(sizeof(*fresh) + key_bytes);
    memcpy(fresh->key, key, key_bytes);
    fresh->object = object;
    fresh->bytes = bytes;
    r->ref(object);

    struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
    void *stays = NULL;
    {
        struct shard *s = at.shard;
        MUTEX_HOLD(&s->mutex);
        struct entry *old = find(&at, key, key_bytes);
        if (old && keeps_old) {
            stays = old->object;
            r->ref(stays);
        } else if (old) {
            take_out(s, old, &dropped);
        }
        while (!stays && s->bytes + bytes > r->shard_max_bytes)
            take_out(s, TAILQ_FIRST(&s->by_use), &dropped);
        if (!stays) {
            HASH_ADD_KEYPTR_BYHASHVALUE(hh, s->table, fresh->key, (unsigned)key_bytes, at.hash,
                                        fresh);
            TAILQ_INSERT_TAIL(&s->by_use, fresh, by_use);
            s->bytes += bytes;
            metric_add(recall_bytes, (int64_t)bytes);
        }
    }
    drop(r, &dropped);
    if (stays) {
        r->unref(object);
        free(fresh);
    }
    return stays;
}

void recall_put(struct recall *r, const void *key, size_t key_bytes, void *object,
                size_t cost_bytes)
{
    put(r, key, key_bytes, object, cost_bytes, false);
}

void *recall_add(struct recall *r, const void *key, size_t key_bytes, void *object,
                 size_t cost_bytes)
{
    void *stays = put(r, key, key_bytes, object, cost_bytes, true);
    if (stays)
        return stays;
    r->ref(object);
    return object;
}

void recall_forget(struct recall *r, const void *key, size_t key_bytes)
{
    const struct place at = place_of(r, key, key_bytes);
    struct entries dropped = TAILQ_HEAD_INITIALIZER(dropped);
    {
        MUTEX_HOLD(&at.shard->mutex);
        struct entry *old = find(&at, key, key_bytes);
        if (old)
            take_out(at.shard, old, &dropped);
    }
    drop(r, &dropped);
}

size_t recall_bytes(struct recall *r)
{
    size_t sum = 0;
    for (size_t i = 0; i < SHARDS; i++) {
        MUTEX_HOLD(&r->shards[i].mutex);
        sum += r->shards[i].bytes;
    }
    return sum;
}
