/* SPDX-License-Identifier: Apache-2.0
 * A bounded memory: a map from byte keys to counted objects, sharded, least recently used out
 * first. What the hot path knows without asking the index. It holds one reference to each object; a
 * get hands out another. Any thread; a shard's mutex (RANK_RECALL) is held for a look-up only, and
 * objects are dropped with no lock held. The metric recall_bytes sums all of them. */
#ifndef BASE_RECALL_H
#define BASE_RECALL_H

#include <stddef.h>

struct recall;

/* ref and unref count an object's references; both must be safe from any thread. max_bytes bounds
 * the sum of costs plus what the table itself spends on an entry. */
struct recall *recall_new(size_t max_bytes, void (*ref)(void *object), void (*unref)(void *object));
void recall_free(struct recall *r);

/* A reference that the caller must drop, or NULL. Marks the entry as used. */
void *recall_get(struct recall *r, const void *key, size_t key_bytes);
/* Puts or replaces; takes a reference of its own. cost_bytes: what the object weighs. One that
 * weighs more than a sixteenth of the whole is not remembered. */
void recall_put(struct recall *r, const void *key, size_t key_bytes, void *object,
                size_t cost_bytes);
/* The same for what was looked up elsewhere and may be out of date by now: an entry that is there
 * stays. Returns what is there (or would be, if it were not too heavy), a reference that the caller
 * must drop. */
void *recall_add(struct recall *r, const void *key, size_t key_bytes, void *object,
                 size_t cost_bytes);
void recall_forget(struct recall *r, const void *key, size_t key_bytes);
/* Visits all that are in it now, with no lock held; they are borrowed. */
void recall_each(struct recall *r, void (*visit)(void *object, void *cls), void *cls);
void recall_clear(struct recall *r); /* forgets all that is in it now */
size_t recall_bytes(struct recall *r);

#endif
