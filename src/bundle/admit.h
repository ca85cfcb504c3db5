/* SPDX-License-Identifier: Apache-2.0
 * The last step of an import: what stands in import/<id>/ becomes held. Files into blobs/, one sync
 * of the folders, then every row and tag in one transaction: nobody sees half of it. */
#ifndef BUNDLE_ADMIT_H
#define BUNDLE_ADMIT_H

#include "base/str.h"

struct error;
struct index;
struct store;

/* On the thread that writes the index, which it keeps for as long as the renames take. id: the hex
 * name of the folder, with its plan; a name that is none is refused. Content that the plan counts
 * on and that is neither there nor held: ERR_NOT_FOUND, and no row is written. May be done again.
 */
int admit_staged(struct store *s, struct index *x, struct slice id, struct error *e);

#endif
