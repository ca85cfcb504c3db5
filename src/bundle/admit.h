/* SPDX-License-Identifier: Apache-2.0
 * The last step of an import: what stands in import/<id>/ becomes held. Files into blobs/, one sync
 * of the folders, then every row and tag in one transaction: nobody sees half of it. Then, if that
 * is wished, all else goes. */
#ifndef BUNDLE_ADMIT_H
#define BUNDLE_ADMIT_H

#include <stdint.h>

struct admittance;
struct contents;
struct error;
struct index;
struct prune;
struct store;

/* On the thread that writes the index: one step, some 3 ms of renames or removals, or the
 * transaction. 1: more is to do, 0: done, -1. a->id: the hex name of the folder, with its plan; a
 * name that is none is refused. Content that the plan counts on and that is neither there nor held:
 * ERR_NOT_FOUND, and no row is written. May be done again. */
int admit_staged(struct admittance *a, struct store *s, struct index *x, struct error *e);
/* ERR_NO_SPACE if so much is in it, and counted on by it, that some would be evicted again. -1: no
 * budget. 0 or -1. */
int admit_check_budget(const struct contents *c, int64_t budget_bytes, struct error *e);
/* All that it names is what stays. 0 or -1. */
int admit_want(const struct contents *c, struct prune *p, struct error *e);

#endif
