/* SPDX-License-Identifier: Apache-2.0
 * Disks forget: what is held is hashed again. scrub_look does one blob, for anybody. struct scrub
 * is a thread of the lowest priority, for which nothing waits: in the order of the digests it
 * passes over all that is held, at the rate that needs the interval for it, and goes on after a
 * restart where it was. In between it looks at what somebody suspects, at once and at full speed.
 * What is wrong is set aside (quarantine.h), and so is fetched again when it is next asked for. */
#ifndef CACHE_SCRUB_H
#define CACHE_SCRUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "oci/digest.h"

struct index;
struct ledger;
struct scrub;
struct store;

/* --- one blob: any thread, waits for the disk ------------------------------------------------- */
enum scrub_verdict {
    SCRUB_RIGHT,
    SCRUB_ABSENT,
    SCRUB_WRONG,   /* other bytes than its name says, bytes that cannot be read, or no file */
    SCRUB_UNKNOWN, /* it could not be looked at, which says nothing about it */
    SCRUB_STOPPED,
};

struct scrub_found {
    int fd; /* the file that was looked at: the caller's; -1: none */
    uint64_t size_bytes;
    struct error why; /* of WRONG and UNKNOWN */
};

/* pace is told of bytes that were read, as they were, and may wait; false ends it (STOPPED). NULL:
 * at full speed. */
enum scrub_verdict scrub_look(struct store *s, const struct digest *d,
                              bool (*pace)(void *cls, size_t bytes), void *cls,
                              struct scrub_found *out);

/* --- the thread ------------------------------------------------------------------------------- */
struct scrub *scrub_start(struct store *s, struct index *x, struct ledger *l, int64_t interval_ms,
                          struct error *e);
/* How long all of it takes; 0: none is looked at that nobody suspects. Any thread, at any time. */
void scrub_set_interval(struct scrub *c, int64_t interval_ms);
/* Ends what is under way and tells who waits, before the ledger stops. Suspicions are refused from
 * then on. */
void scrub_stop(struct scrub *c);
void scrub_free(struct scrub *c);

/* On the scrub's thread: what was found (SCRUB_WRONG: and set aside, unless failed tells why it
 * could not be), after the index knows it. */
typedef void (*scrub_done)(void *cls, enum scrub_verdict verdict, const struct error *failed);
/* Look at that one. Any thread, never waits. false, and done is not called: too many wait (1024),
 * or it is stopping. done may be NULL. */
bool scrub_suspect(struct scrub *c, const struct digest *d, scrub_done done, void *cls);

#endif
