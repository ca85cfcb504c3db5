/* SPDX-License-Identifier: Apache-2.0
 * Where a held file goes that turned out wrong: DATA/quarantine/<algorithm>-<hex>, for whoever
 * wants to know what became of it; one a digest, the latest. It counts as the blob did (room.h), is
 * the first to go where room is needed, and goes at the first start after a week. The ledger's
 * thread, or whoever owns the folder alone. */
#ifndef CACHE_QUARANTINE_H
#define CACHE_QUARANTINE_H

#include <stdint.h>

#include "oci/digest.h"

struct error;
struct store;

#define QUARANTINE_FOLDER "quarantine" /* in the data folder; made when first needed */

/* Takes the name under blobs/ away from the file that fd is open on, and from no other: whatever
 * has replaced it is not what was looked at. fd -1: from whatever is no regular file. 1: it is set
 * aside; 0: there is no such file; -1. */
int quarantine_take(struct store *s, const struct digest *d, int fd, struct error *e);
/* At start: counts what is there, and removes what is older. */
void quarantine_sweep(struct store *s, int64_t max_age_s);
/* Removes one file: the bytes of disk that it took, or 0 if there is none. */
int64_t quarantine_drop(struct store *s);

#endif
