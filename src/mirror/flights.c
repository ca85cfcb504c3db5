/* SPDX-License-Identifier: Apache-2.0
 * Two hash tables under one mutex: look-ups are short, and a warm hit never comes here. */
#include "mirror/flights.h"

#include <stdint.h>
#include <string.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "cache/flow.h"
#include "mirror/answer.h"

struct flight {
    UT_hash_handle hh;
    struct flow *flow;
    struct answer *answer;
    char *owner;    /* of a flow: the repository that began it */
    bool is_shared; /* a flow that others than who began it were given */
    size_t key_bytes;
    char key[];
};

struct flights {
    struct mutex mutex; /* guards all below */
    struct flight *flows, *questions;
    uint64_t ended; /* atomic to read */
};

struct flights *flights_new(void)
{
    struct flights *f = alloc_zero(sizeof *f);
    mutex_init(&f->mutex, RANK_FLIGHTS);
    return f;
}

void flights_free(struct flights *f)
{
    mutex_fini(&f->mutex);
    free(f);
}

uint64_t flights_ended(const struct flights *f)
{
    return __atomic_load_n(&f->ended, __ATOMIC_ACQUIRE);
}

static void count_end(struct flights *f)
{
    __atomic_store_n(&f->ended, f->ended + 1, __ATOMIC_RELEASE);
}

static struct flight *make(const void *key, size_t key_bytes)
{
    struct flight *e = alloc_zero(sizeof *e + key_bytes);
    memcpy(e->key, key, key_bytes);
    e->key_bytes = key_bytes;
    return e;
}

struct flow *flights_find_flow(struct flights *f, const struct digest *d, const char *owner,
                               bool *is_own)
{
    struct flight *e;
    MUTEX_HOLD(&f->mutex);
    HASH_FIND(hh, f->flows, d, sizeof *d, e);
    if (e)
        e->is_shared = true;
    *is_own = e && strcmp(e->owner, owner) == 0;
    return e ? flow_ref(e->flow) : NULL;
}

struct flow *flights_join_flow(struct flights *f, struct store *s, const struct digest *d,
                               long long size_bytes, const char *owner, uint64_t ended, bool *begun)
{
    struct flight *e;
    MUTEX_HOLD(&f->mutex);
    HASH_FIND(hh, f->flows, d, sizeof *d, e);
    *begun = !e;
    if (!e && f->ended != ended)
        return NULL;
    if (e) {
        e->is_shared = true;
    } else {
        e = make(d, sizeof *d);
        e->flow = flow_new(s, d, size_bytes);
        e->owner = alloc_string(owner);
        HASH_ADD_KEYPTR(hh, f->flows, e->key, e->key_bytes, e);
    }
    return flow_ref(e->flow);
}

size_t flights_list(struct flights *f, struct flight_view *out, size_t max)
{
    size_t count = 0;
    MUTEX_HOLD(&f->mutex);
    for (struct flight *e = f->flows; e && count < max; e = e->hh.next)
        out[count++] = (struct flight_view){flow_ref(e->flow), alloc_string(e->owner)};
    return count;
}

bool flights_is_free(struct flights *f, const struct digest *d)
{
    const struct flight *e;
    MUTEX_HOLD(&f->mutex);
    HASH_FIND(hh, f->flows, d, sizeof *d, e);
    return !e;
}

static bool end_flow(struct flights *f, struct flow *flow, bool only_if_alone)
{
    struct flight *e;
    {
        MUTEX_HOLD(&f->mutex);
        HASH_FIND(hh, f->flows, flow_digest(flow), sizeof(struct digest), e);
        if (!e || e->flow != flow || (only_if_alone && e->is_shared))
            return false;
        HASH_DEL(f->flows, e);
        count_end(f);
    }
    flow_unref(e->flow);
    free(e->owner);
    free(e);
    return true;
}

bool flights_retire_flow(struct flights *f, struct flow *flow)
{
    return end_flow(f, flow, true);
}

void flights_end_flow(struct flights *f, struct flow *flow)
{
    end_flow(f, flow, false);
}

struct answer *flights_join(struct flights *f, const char *key, uint64_t ended, bool *begun)
{
    struct flight *e;
    MUTEX_HOLD(&f->mutex);
    HASH_FIND(hh, f->questions, key, strlen(key), e);
    *begun = !e;
    if (!e && f->ended != ended)
        return NULL;
    if (!e) {
        e = make(key, strlen(key));
        e->answer = answer_new();
        HASH_ADD_KEYPTR(hh, f->questions, e->key, e->key_bytes, e);
    }
    return answer_ref(e->answer);
}

void flights_end(struct flights *f, const char *key)
{
    struct flight *e;
    {
        MUTEX_HOLD(&f->mutex);
        HASH_FIND(hh, f->questions, key, strlen(key), e);
        if (!e)
            return;
        HASH_DEL(f->questions, e);
        count_end(f);
    }
    answer_unref(e->answer);
    free(e);
}
