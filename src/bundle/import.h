/* SPDX-License-Identifier: Apache-2.0
 * Takes bundles and strangers' archives into a data folder (docs/air-gap.md), beside a running
 * mirror or without one: everything is verified and staged first, then admitted in one step. What
 * is refused changes nothing. Waits for the disk; one thread. */
#ifndef BUNDLE_IMPORT_H
#define BUNDLE_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "cache/prune.h"
#include "oci/digest.h"
#include "oci/digests.h"
#include "oci/reference.h"

struct admittance;
struct error;
struct stage;

/* What a dry run keeps from one file to the next, so that the volumes of a bundle are judged
 * together. Zeroed is empty; rehearsal_fini leaves nothing of it on the disk. */
struct rehearsal {
    struct digests ids; /* of bundles */
    struct stage **stages;
};
void rehearsal_fini(struct rehearsal *r);
#define autorehearsal __attribute__((cleanup(rehearsal_fini)))

struct import_options {
    const char *data;
    struct slice public_pem;      /* empty: signatures are not looked at */
    int64_t budget_bytes;         /* of the data folder; -1: none */
    struct rehearsal *rehearsal;  /* of a dry run; or NULL */
    bool is_forced;               /* archives without registry digests may move tags */
    const struct reference *name; /* for what comes without a name; or NULL */
    struct digest whole; /* what came last; algorithm 0: nothing yet. More volumes of it are
                            not read; anything else is not pruned for */
    bool is_pruning; /* what it does not name goes, once all of it is in; never what is pinned */
    /* The mirror that runs on the data folder admits what was staged under a->id, and says what was
     * pruned. 1 done, 0 no mirror runs, -1. NULL: there is no way to ask one. */
    int (*hand_over)(struct admittance *a, void *cls, struct error *e);
    /* What else there is to say, one line each; or NULL. */
    void (*note)(const char *line, void *cls);
    void *cls;
};

struct import_result {
    struct digest id; /* of the bundle, the same for all of its volumes */
    bool is_whole;    /* false: volumes are missing, which `missing` lists */
    char missing[200];
    size_t images, blobs, new_blobs; /* tags; content in it; content that was not held */
    uint64_t new_bytes;
    struct pruned pruned; /* or would be */
};

/* One file, volume or folder. 0 or -1. */
int import_take(const struct import_options *o, const char *path, struct import_result *out,
                struct error *e);

#endif
