/* SPDX-License-Identifier: Apache-2.0
 * What people say about what is held: pin, unpin. One engine a verb, from a request in JSON to a
 * report in JSON, so that it is the same whether the server that runs on the data folder does it
 * (on the ledger's thread) or a command that holds the folder itself. A request is done as a whole
 * or not at all. Waits for the disk. */
#ifndef CACHE_KEEP_H
#define CACHE_KEEP_H

#include "base/str.h"
#include "oci/digest.h"

struct error;
struct index;
struct json_t;
struct store;

/* What is held, to whoever may change it. */
struct keep {
    struct store *store;
    struct index *index;
    void (*gone)(void *cls, const struct digest *d); /* drop it from memory; NULL: nobody has any */
    void *cls;
};

/* The report (one JSON object) is appended. 0 or -1, and then the report means nothing. */
typedef int (*keep_work)(const struct keep *k, struct slice request, struct str *report,
                         struct error *e);

/* The names in a request, {"images": ["alpine", …]}: an array of texts, borrowed from it. NULL and
 * ERR_USAGE if that is not what it is; the request may be NULL. */
const struct json_t *keep_names(const struct json_t *request, struct error *e);

/* {"images": ["alpine", "ghcr.io/o/r@sha256:…"]}: of each name "image" (in full), "is_changed",
 * "is_held". A pin is on a name and needs nothing held; unpinning what is not pinned is
 * ERR_NOT_FOUND. */
int keep_pin(const struct keep *k, struct slice request, struct str *report, struct error *e);
int keep_unpin(const struct keep *k, struct slice request, struct str *report, struct error *e);

#endif
