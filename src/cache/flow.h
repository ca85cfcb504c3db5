/* SPDX-License-Identifier: Apache-2.0
 * One blob on its way in: written by one or several transfers, followed by many connections. It
 * knows bytes and readers, neither curl nor HTTP. States only move forward: WAITING (size unknown),
 * STREAMING, then VERIFIED or FAILED. The newest byte of the blob, its last, is held back until
 * VERIFIED, so that nobody can complete a corrupt blob. Which bytes are present is written beside
 * the data from time to time, so that a later flow of the same digest, in this process or the next,
 * goes on where this one stopped. Where nothing more fits on the disk it passes: its bytes live in
 * a small window in memory until its readers have them, and nothing of it is kept. Counted: the
 * flights table, the producer and each reader hold one reference. Safe from any thread unless said.
 */
#ifndef CACHE_FLOW_H
#define CACHE_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/auto.h"
#include "cache/window.h"
#include "oci/digest.h"

struct error;
struct hashing;
struct segments;
struct store;
struct flow;

enum flow_state { FLOW_WAITING, FLOW_STREAMING, FLOW_VERIFIED, FLOW_FAILED };

/* Someone who wants to know. Embedded in its owner; lives until wake is called, which happens
 * exactly once. */
struct waiter {
    void (*wake)(struct waiter *w); /* from the producer's thread, no lock held; must not wait */
    uint64_t offset;                /* private to the flow */
    STAILQ_ENTRY(waiter) next;
};

/* A new flow, WAITING, with one reference. size_bytes: as a descriptor promised, -1 if unknown.
 * Does no I/O. */
struct flow *flow_new(struct store *s, const struct digest *d, int64_t size_bytes);
/* One that passes from its first byte on. */
struct flow *flow_new_passing(struct store *s, const struct digest *d, int64_t size_bytes);
struct flow *flow_ref(struct flow *f);
void flow_unref(struct flow *f);
AUTO_UNREF(flow, flow_unref)

const struct digest *flow_digest(const struct flow *f);
enum flow_state flow_state(struct flow *f);
/* True once the size is known (STREAMING and later, unless FAILED before). */
bool flow_size(struct flow *f, uint64_t *size_bytes);
/* The same for who tells a client: it stands from now on. */
bool flow_tell_size(struct flow *f, uint64_t *size_bytes);
bool flow_error(struct flow *f, struct error *e); /* true and *e filled once FAILED */
int flow_fd(const struct flow *f); /* borrowed: the data file; complete once VERIFIED, unless
                                      it passes */
bool flow_is_passing(const struct flow *f);
/* Its first bytes are gone, as it passes, or its file cannot be read: who has not begun to read
 * needs a flow of his own. */
bool flow_is_past(struct flow *f);
uint64_t flow_present(struct flow *f); /* bytes present now */
/* Bytes a second since it was begun, without those that were taken up. */
uint64_t flow_rate(struct flow *f);

/* --- readers ---------------------------------------------------------------------------------- */
/* Copies up to max bytes from offset. Returns the count, 0 if none are ready (or offset is the
 * end), -1 once FAILED (reason in e). */
ssize_t flow_read(struct flow *f, uint64_t offset, void *into, size_t max, struct error *e);
/* Who means to read says so, and where he stands; a flow that passes waits for him. false: what he
 * wants is gone. */
bool flow_join(struct flow *f, struct flow_reader *r, uint64_t at);
void flow_leave(struct flow *f, struct flow_reader *r);
/* As flow_read, by one who joined. */
ssize_t flow_read_as(struct flow *f, struct flow_reader *r, uint64_t offset, void *into, size_t max,
                     struct error *e);
/* Calls w->wake once when offset becomes readable or the flow ends; with offset FLOW_HEAD when the
 * size becomes known or the flow ends; with FLOW_END only when it ends. Returns false, and forgets
 * w, if that is already so. */
bool flow_await(struct flow *f, uint64_t offset, struct waiter *w);
#define FLOW_HEAD UINT64_MAX
#define FLOW_END (UINT64_MAX - 1)

/* --- the producer: one thread (the fetcher's) ------------------------------------------------- */
/* Opens the partial file and takes up what an earlier flow left there: first of all, once. Waits
 * for the disk. If that cannot be had it passes. */
void flow_open(struct flow *f);
/* Nothing more of it is kept: what comes from here on passes, in order (flow_write refuses anything
 * else with ERR_NO_SPACE), and nothing is held back any more. A disk that fails has the same
 * effect. No way back. */
void flow_pass(struct flow *f, const struct error *why);
/* 1: that many bytes may be written. 0: not yet, a reader is slow. -1: nobody reads it any more. */
int flow_has_room(struct flow *f, size_t length, struct error *e);
/* The size that a source states. 0, or -1 (ERR_CORRUPT) if it contradicts what is known. */
int flow_set_size(struct flow *f, uint64_t size_bytes, struct error *e);
/* The first byte past `after` that a reader waits for and that is not here: true, and where. */
bool flow_wanted(struct flow *f, uint64_t after, uint64_t *offset);
/* Has anybody read of it, or waits for it? */
bool flow_is_followed(struct flow *f);
/* As promised, taken up or stated so far; UINT64_MAX: not known. */
uint64_t flow_known_size(struct flow *f);
/* Bytes at their place; those already present are not written again. Of a large blob they are
 * gathered, and in the file only after a further one, flow_flush or flow_hole. Refused: beyond the
 * size (ERR_CORRUPT); out of order while it passes (ERR_NO_SPACE; ERR_IO if the order cannot come
 * any more, for the disk does not give back what it has). */
int flow_write(struct flow *f, uint64_t offset, const void *bytes, size_t length, struct error *e);
/* The first hole at or after from: false if nothing is missing there. *length is UINT64_MAX while
 * the size is unknown. */
bool flow_hole(struct flow *f, uint64_t from, uint64_t *offset, uint64_t *length);
/* Wakes the readers who have news, at most every 2 ms. Returns milliseconds until it wants to be
 * called again, -1 never. */
int flow_flush(struct flow *f);
/* Large blobs are hashed by that thread, which outlives the flow, from now on. */
void flow_hash_beside(struct flow *f, struct hashing *h);
/* Once flow_hole says that all is here: hashes up to max bytes of what was not hashed yet. true if
 * more is left. Waits for the thread beside, which leaves the rest to the producer, a chunk at
 * most. */
bool flow_hash_rest(struct flow *f, size_t max);
/* All is present and hashed: VERIFIED (0), or -1 (ERR_CORRUPT) if the digest differs: the caller
 * restarts or fails it. With the size still unknown the present prefix is the whole. */
int flow_finish(struct flow *f, struct error *e);
/* FAILED for that reason; keeps the partial data unless the reason is ERR_CORRUPT. No effect once
 * ended. */
void flow_fail(struct flow *f, const struct error *why);
/* Throws away all bytes (they turned out wrong) while no reader has been given any: true; else
 * false. So goes a size that a source stated, if nobody promised it and no client was told: then
 * the flow is WAITING again, the one step back that there is. */
bool flow_restart(struct flow *f);
/* Readers do not get those bytes, here or still to come, before they are trusted or the flow is
 * VERIFIED. */
void flow_doubt(struct flow *f, uint64_t first, uint64_t end);
/* Wakes nobody: flow_flush does. */
void flow_trust(struct flow *f, uint64_t first, uint64_t end);
/* Throws away those bytes, unless a reader was given one of them: true; else false. Until others
 * are written over them, the file has them still. */
bool flow_drop(struct flow *f, const struct segments *bytes);
/* Writes the map now (it is also written as bytes come, every 4 MiB). */
void flow_save(struct flow *f);

#endif
