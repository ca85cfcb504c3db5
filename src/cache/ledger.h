/* SPDX-License-Identifier: Apache-2.0
 * The durable thread: the only writer of blobs/ and of the index. Takes letters, does them in
 * groups (one transaction and one folder fsync for many), then tells each sender. Order of becoming
 * durable: fsync file, rename, fsync folder, commit row, tell. Posting never waits; any thread. A
 * failure (disk full, index broken) is logged once, counted, told to the sender, and never ends the
 * thread: what failed is simply not held. */
#ifndef CACHE_LEDGER_H
#define CACHE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/digest.h"

struct error;
struct evict_listener;
struct evict_order;
struct store;
struct index;
struct ledger;
struct manifest;

struct ledger *ledger_start(struct store *s, struct index *x, struct error *e);
/* Does all that is waiting, then ends the thread and frees. */
void ledger_stop(struct ledger *l);

/* Called on the ledger's thread with no lock held, after the group is durable; e is NULL on
 * success. */
typedef void (*ledger_done)(void *cls, const struct error *e);

/* A blob whose partial file fd (borrowed until done is called) was verified. Never refused but when
 * stopping (false: done is not called). registry/repository: who holds it. */
bool ledger_publish(struct ledger *l, const struct digest *d, int fd, uint64_t size_bytes,
                    const char *registry, const char *repository, ledger_done done, void *cls);

/* A verified manifest: its bytes (copied), parsed form (read before the call returns, not kept),
 * who holds it, and, with a tag, that the tag was seen there now. done may be NULL. */
bool ledger_publish_manifest(struct ledger *l, const struct digest *d, const void *bytes,
                             size_t length, const struct manifest *m, const char *registry,
                             const char *repository, const char *tag, ledger_done done, void *cls);

/* Work of another module that needs this thread: whatever only the writer may do, in transactions
 * of its own, once what was posted before is durable. Everything else waits for it, so what takes
 * long does some and returns 1: it is called again after what was posted meanwhile. 0: it is done,
 * -1: it failed. Refused as a publish is. */
typedef int (*ledger_work)(struct store *s, struct index *x, void *cls, struct error *e);
bool ledger_run(struct ledger *l, ledger_work work, ledger_done done, void *cls);

/* Waits until what was posted before is done. Not from the ledger's thread. */
void ledger_settle(struct ledger *l);

/* The rest is kept as well as can be: when the queue is full (65,536 letters) these are dropped,
 * counted in a metric. */
void ledger_put_hold(struct ledger *l, const char *registry, const char *repository,
                     const struct digest *d, int64_t size_bytes);
void ledger_put_tag(struct ledger *l, const char *registry, const char *repository, const char *tag,
                    const struct digest *d);
void ledger_remove_tag(struct ledger *l, const char *registry, const char *repository,
                       const char *tag);
void ledger_put_listing(struct ledger *l, const char *registry, const char *repository,
                        const char *kind, const char *key, const char *body, size_t length);
void ledger_touch(struct ledger *l,
                  const struct digest *d); /* was used now; merged within a group */
void ledger_add_hits(struct ledger *l, const struct digest *d, int64_t hits);
/* What that tag or digest names is never evicted; it need not be held. Never refused but when
 * stopping, as a publish. */
bool ledger_pin(struct ledger *l, const char *registry, const char *repository,
                const char *reference, ledger_done done, void *cls);
/* File and row go. */
void ledger_remove_blob(struct ledger *l, const struct digest *d);
/* A held blob turned out wrong, or missing: its file is set aside (quarantine.h), and its row goes.
 * is_remembered: whoever listens may have it, and is told that it went. fd is the file that was
 * found wrong, of which the ledger keeps a descriptor of its own: if another has its name by now,
 * nothing happens (ERR_NOT_FOUND). -1: there was no regular file. done may be NULL. Refused as a
 * publish is. */
bool ledger_set_aside(struct ledger *l, const struct digest *d, int fd, bool is_remembered,
                      ledger_done done, void *cls);
/* Who is asked and told about what is evicted, from then on: on the ledger's thread. Copied. */
void ledger_listen(struct ledger *l, const struct evict_listener *e);
/* Wakes it to make room at once, where somebody waits for it (room_want); without, it looks once a
 * second. */
void ledger_make_room(struct ledger *l);
/* Carries that order out (evict.h), slice by slice, with what is posted meanwhile in between. The
 * order is borrowed until done is called. Refused as a publish is. */
bool ledger_evict(struct ledger *l, struct evict_order *o, ledger_done done, void *cls);
/* A failed way in: its partial files go (content was wrong). */
void ledger_remove_partial(struct ledger *l, const struct digest *d);

#endif
