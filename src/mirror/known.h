/* SPDX-License-Identifier: Apache-2.0
 * What the mirror knows: bounded memory in front of the index and the store. Reads may fall through
 * to both (the reader is the calling thread's own, or NULL to ask memory and files only); what is
 * learnt goes into memory at once and to the ledger behind. Any thread. */
#ifndef MIRROR_KNOWN_H
#define MIRROR_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"
#include "mirror/answer.h"
#include "mirror/content.h"
#include "mirror/freshness.h"
#include "oci/digest.h"

struct index_reader;
struct known;
struct ledger;
struct pulled;
struct store;

struct known *known_new(struct store *s, struct ledger *l, size_t memory_bytes);
void known_free(struct known *k);

/* Held content with a reference, or NULL. as_manifest: only if its media type is known. A file that
 * a row promises and that is missing, of another size or, if it is small, of other bytes, counts as
 * not held: it is set aside, and its row goes. */
struct content *known_content(struct known *k, struct index_reader *r, const struct digest *d,
                              bool as_manifest);
/* It is given now to a client of that repository: the ledger is told, once a minute; and where the
 * disk did not take it when it came, it is asked to again. is_hit: the client gets its bytes. */
void known_use(struct known *k, struct content *c, const char *registry, const char *repository,
               bool is_hit);
/* The disk did not take what memory has. */
void known_note_unstored(struct content *c);
/* Has the ledger note the hits of manifests since the last time. What memory forgot meanwhile is
 * not among them. */
void known_note_hits(struct known *k);
void known_put_content(struct known *k, struct content *c); /* memory only */

/* Was this repository seen to hold that digest? wants_proof: being named by a manifest of its own
 * is not enough. *size_bytes, in any case, is what a descriptor told, or -1. */
bool known_hold(struct known *k, struct index_reader *r, const char *registry,
                const char *repository, const struct digest *d, bool wants_proof,
                int64_t *size_bytes);
/* That it was fetched or confirmed there. is_durable: the ledger writes it too (a publish does so
 * by itself). */
void known_put_hold(struct known *k, const char *registry, const char *repository,
                    const struct digest *d, int64_t size_bytes, bool is_durable);

/* What is known of a name: a tag, or anything that an upstream said it has not. Immutable once put;
 * counted. */
struct note {
    struct digest digest; /* algorithm 0: none */
    uint64_t size_bytes;  /* as a HEAD said; 0: no HEAD */
    char media_type[MEDIA_TYPE_MAX + 1];
    struct freshness freshness; /* is_held is not used */
    unsigned references;        /* private */
};
struct note *note_new(void);
void note_unref(struct note *n);
AUTO_UNREF(note, note_unref)
/* reference: a tag, or a digest as text. With a reference, or NULL. */
struct note *known_note(struct known *k, struct index_reader *r, const char *registry,
                        const char *repository, const char *reference);
void known_put_note(struct known *k, const char *registry, const char *repository,
                    const char *reference, struct note *n);

/* The tag was confirmed by the upstream now: memory and ledger. size and type from a HEAD may be 0
 * and "". */
void known_confirm_tag(struct known *k, const char *registry, const char *repository,
                       const char *tag, const struct digest *d, uint64_t size_bytes,
                       const char *media_type);
/* It could not be confirmed; it is gone (is_missing: it is forgotten, memory and ledger). */
void known_fail_note(struct known *k, const char *registry, const char *repository,
                     const char *reference, bool is_missing);

/* A verified manifest, and with a tag (NULL: none) that it was seen under it: memory and ledger.
 * Its content, one reference. */
struct content *known_put_manifest(struct known *k, const char *registry, const char *repository,
                                   const char *tag, const struct pulled *p);

/* Listings, as finished answers. */
struct answer *known_listing(struct known *k, const char *key);
void known_put_listing(struct known *k, const char *key, struct answer *a);
/* One that the index had, unless a newer one was put meanwhile: returns that which is there, a
 * reference. */
struct answer *known_add_listing(struct known *k, const char *key, struct answer *a);
/* It is held no more. */
void known_forget_content(struct known *k, const struct digest *d);
/* What is remembered of names (tags, who holds what, what is missing, listings) is forgotten: the
 * index was changed by somebody else. */
void known_forget_names(struct known *k);

#endif
