/* SPDX-License-Identifier: Apache-2.0
 * What the flow_*.c and flow.c share. Inside of cache/. */
#ifndef CACHE_FLOW_INSIDE_H
#define CACHE_FLOW_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/error.h"
#include "base/thread.h"
#include "cache/flow.h"
#include "cache/hashing.h"
#include "cache/segments.h"

enum { LARGE_BYTES = 4 << 20 }; /* smaller blobs are hashed and written as they come */

STAILQ_HEAD(waiters, waiter);

struct flow {
    atomic_uint references;
    struct store *store;
    struct digest digest;
    int fd;                 /* set by flow_open, before the first segment */
    struct hasher *hasher;  /* whose hold is_hashing, or the producer once is_claimed */
    struct hashing *beside; /* NULL: none */
    struct hash_work work;
    char *gathered; /* producer: bytes that are not written yet, */
    uint64_t gathered_at;
    size_t gathered_bytes;
    uint64_t unsaved;      /* producer: bytes written since the map was */
    int64_t flushed_ms;    /* producer */
    bool is_dirty;         /* producer: news since the last flush */
    uint64_t news;         /* producer: bytes of it */
    int64_t full_since_ms; /* producer: the window has no room; 0: it has */
    atomic_bool is_passing;
    atomic_bool is_unreadable; /* the file did not give back what it was given */

    struct mutex mutex; /* guards all below */
    enum flow_state state;
    bool has_size, is_promised, was_told; /* told: the size, to a client */
    uint64_t size;
    struct segments present;
    struct segments given;   /* to readers */
    struct segments doubted; /* not to be given yet */
    uint64_t hashed;         /* prefix that went through the hasher */
    bool is_waiting;         /* work: posted, or running; it holds a reference */
    bool is_hashing;         /* the thread beside is at a chunk */
    bool is_claimed;         /* the producer hashes the rest */
    pthread_cond_t is_free;  /* no longer is_hashing */
    struct waiters waiters;
    struct error error;
    uint64_t taken_up; /* bytes that an earlier flow left */
    int64_t began_ms;
    struct window window; /* what came while it passes */
    struct segments kept; /* what the file has of it then */
};

static inline bool flow_is_large(const struct flow *f)
{
    return f->has_size && f->size >= LARGE_BYTES;
}

/* --- the hash, for the producer --------------------------------------------------------------- */
/* Bytes on their way to the file: hashed now if it is their turn and nobody hashes beside. */
void flow_hash_bytes(struct flow *f, const void *bytes, size_t length, uint64_t offset);
void flow_hash_news(struct flow *f); /* more is present: work for who hashes beside */
/* The hasher is the producer's, until he takes is_claimed back. Waits for a chunk at most. */
void flow_hash_claim(struct flow *f);

/* What the file has from offset on: count or -1. Any thread. */
ssize_t flow_read_file(struct flow *f, void *into, size_t max, uint64_t offset, struct error *e);

/* --- while it passes -------------------------------------------------------------------------- */
/* With the mutex held. true: the first bytes from offset on, *length of them, are copied. false:
 * *length of them are in the file. */
bool flow_copy_from_window(struct flow *f, uint64_t offset, void *into, uint64_t *length);

#endif
