/* SPDX-License-Identifier: Apache-2.0
 * Commands that change what is held, while the mirror runs: the ledger does them, and memory
 * forgets what is no longer so. */
#ifndef MIRROR_WORK_H
#define MIRROR_WORK_H

#include "cache/keep.h"

struct answer;
struct mirror;

/* verb: for the log, a constant. One reference, not done yet: ANSWER_DONE, with the report as its
 * items, or ANSWER_ERROR. mirror_is_working until then. Any thread. */
struct answer *work_begin(struct mirror *m, const char *verb, keep_work does, struct slice request);

/* The same for eviction on demand (cache/eviction.h), in slices, with other work in between. */
struct answer *work_evict(struct mirror *m, struct slice request);

#endif
