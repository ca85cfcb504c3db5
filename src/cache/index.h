/* SPDX-License-Identifier: Apache-2.0
 * The SQLite index DATA/tranship.db (WAL, schema version in user_version, migrations run in order
 * at open). What it says can be rebuilt from the files but for tags and listings. Reading: one
 * struct index_reader per thread, never blocks on the writer. Writing: only the ledger's thread,
 * inside index_begin … index_commit. The only folder that includes sqlite3.h is cache. */
#ifndef CACHE_INDEX_H
#define CACHE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/digest.h"
#include "oci/manifest.h"

struct error;
struct sql;
struct store;
struct index;
struct index_reader;

/* Opens or makes the index of that data folder. A file that is broken or no database is set aside
 * (renamed with ".broken") and a new one made, which *rebuilt tells (what is no file at all is set
 * aside, too); one of a later schema version is refused (ERR_USAGE). Then every file of the store
 * without a row gets one and every row without a file loses it (agree.h). */
struct index *index_open(struct store *s, bool *rebuilt, struct error *e);
/* For who must serve, and at once: one of a later version is set aside, too (".later"), and what
 * differs from the files is put right by index_step, while index_is_behind. */
struct index *index_open_serving(struct store *s, struct error *e);
/* Nothing is set aside, and nothing compared. */
struct index *index_open_sound(struct store *s, struct error *e);
void index_close(struct index *x); /* all readers closed before */

/* --- in line with the files: the ledger's thread ---------------------------------------------- */
/* Some of what is left to do: 1 there is more, 0 nothing is, -1 failed (and tried again next time).
 */
int index_step(struct index *x, struct error *e);
/* Compares again; index_step then does what is found. */
int index_compare(struct index *x, struct error *e);
struct index_agreed {
    size_t adopted, lost; /* files that had no row, rows that had no file */
};
struct index_agreed index_agreed(const struct index *x); /* by the last comparison */
bool index_is_agreeing(const struct index *x);           /* index_step has something to do */
/* To be called from time to time: where somebody has taken the file away it is written again, with
 * all that it had; where it is broken (NULL, or what a call told) it is set aside, and made anew
 * from the files by index_step. 0, or -1: not now. Readers follow by themselves. */
int index_mend(struct index *x, const struct error *broken, struct error *e);

struct index_reader *index_reader_open(struct index *x, struct error *e);
/* Beside the process that owns the data folder. ERR_NOT_FOUND if there is no index yet. */
struct index_reader *index_reader_open_beside(struct store *s, struct error *e);
void index_reader_close(struct index_reader *r);
/* There may be files that no row tells of yet. To be asked before looking for a row. */
bool index_is_behind(const struct index_reader *r);
/* Can its file be read, now, and not out of memory? 0 or -1. */
int index_check(struct index_reader *r, struct error *e);

/* --- reading: 1 found, 0 absent, -1 failed ---------------------------------------------------- */
int index_find_blob(struct index_reader *r, const struct digest *d, uint64_t *size_bytes,
                    struct error *e);
/* And when it was last used, in wall seconds; 0: the eviction has passed it since. */
int index_find_blob_use(struct index_reader *r, const struct digest *d, uint64_t *size_bytes,
                        int64_t *used_at, struct error *e);

struct index_manifest {
    char media_type[MEDIA_TYPE_MAX + 1];
};
int index_find_manifest(struct index_reader *r, const struct digest *d, struct index_manifest *out,
                        struct error *e);

/* Was this repository seen to hold the digest: fetched or confirmed there (*is_proven), or only
 * named by a manifest of its own? *size_bytes: the size its descriptor gives, -1 unknown. registry
 * and repository are canonical names. */
int index_find_hold(struct index_reader *r, const char *registry, const char *repository,
                    const struct digest *d, int64_t *size_bytes, bool *is_proven, struct error *e);

/* The registry of each repository that was seen to hold it, not only to name it; visit returns
 * false to stop. Count or -1. */
int index_each_holder(struct index_reader *r, const struct digest *d,
                      bool (*visit)(const char *registry, void *cls), void *cls, struct error *e);

struct index_tag {
    struct digest digest;
    int64_t checked_at; /* wall seconds when the upstream last confirmed it */
};
int index_find_tag(struct index_reader *r, const char *registry, const char *repository,
                   const char *tag, struct index_tag *out, struct error *e);

/* A listing as the upstream last gave it (kind "tags" or "referrers", key "" or the digest): *body
 * owned by the caller. */
int index_find_listing(struct index_reader *r, const char *registry, const char *repository,
                       const char *kind, const char *key, char **body, size_t *length,
                       int64_t *fetched_at, struct error *e);

/* Names in byte order after `last` ("" from the start), at most max; visit returns false to stop.
 * Count visited or -1. Repositories: those that hold at least one manifest or tag; name is given as
 * registry and repository. Order of repositories: by registry, then name; last_registry/last_name
 * both "" from the start. */
int index_each_tag(struct index_reader *r, const char *registry, const char *repository,
                   const char *last, size_t max, bool (*visit)(const char *tag, void *cls),
                   void *cls, struct error *e);
int index_each_repository(struct index_reader *r, const char *last_registry, const char *last_name,
                          size_t max,
                          bool (*visit)(const char *registry, const char *name, void *cls),
                          void *cls, struct error *e);
/* Held manifests whose subject is d, within that repository. */
int index_each_referrer(struct index_reader *r, const char *registry, const char *repository,
                        const struct digest *subject,
                        bool (*visit)(const struct digest *d, uint64_t size_bytes,
                                      const char *media_type, const char *artifact_type,
                                      const char *annotations, void *cls),
                        void *cls, struct error *e);

/* What is held, all in all. */
struct index_tally {
    uint64_t blobs, bytes;
};
int index_tally(struct index_reader *r, struct index_tally *out, struct error *e); /* 0 or -1 */

/* The images that need it, as "registry/repository:tag", or the repositories that hold it, if no
 * tag leads there: at most max. Count or -1. */
int index_each_image_with(struct index_reader *r, const struct digest *d, size_t max,
                          bool (*visit)(const char *image, void *cls), void *cls, struct error *e);
/* The first blob after that one, in the order of their digests; after a zeroed digest, the first of
 * all. */
int index_next_blob(struct index_reader *r, const struct digest *after, struct digest *out,
                    struct error *e);

/* How far the scrub has come. */
struct index_scrub {
    struct digest place; /* the last that its pass has looked at; algorithm 0: the pass has ended */
    int64_t began_at;    /* wall seconds */
};
int index_get_scrub(struct index_reader *r, struct index_scrub *out, struct error *e);

/* Manifests that were fetched there, with no tag of that repository on them, in none of its indexes
 * and speaking of no other. Count visited or -1. */
int index_each_root(struct index_reader *r, const char *registry, const char *repository,
                    bool (*visit)(const struct digest *d, void *cls), void *cls, struct error *e);

/* --- writing: the ledger's thread only -------------------------------------------------------- */
int index_begin(struct index *x, struct error *e);
int index_commit(struct index *x, struct error *e);
void index_rollback(struct index *x);
int index_put_blob(struct index *x, const struct digest *d, uint64_t size_bytes, int64_t now_s,
                   struct error *e);
/* The same for a file that is there already: its place in the order of coming is by that time. */
int index_adopt_blob(struct index *x, const struct digest *d, uint64_t size_bytes, int64_t used_at,
                     struct error *e);
int index_remove_blob(struct index *x, const struct digest *d, struct error *e);
/* The same for what is wrong or missing, and may come again: what a manifest named stays known
 * where there is a pin on it or above it, for a pinned image must not lose its layers with it. */
int index_lose_blob(struct index *x, const struct digest *d, struct error *e);
/* The manifest's row and its children; and, with a repository (NULL: none), that this repository
 * holds it, and that it names all its children but the subject. */
int index_put_manifest(struct index *x, const struct digest *d, const struct manifest *m,
                       const char *registry, const char *repository, struct error *e);
/* That it was fetched or confirmed there. */
int index_put_hold(struct index *x, const char *registry, const char *repository,
                   const struct digest *d, int64_t size_bytes, struct error *e);
int index_put_tag(struct index *x, const char *registry, const char *repository, const char *tag,
                  const struct digest *d, int64_t checked_at, struct error *e);
int index_remove_tag(struct index *x, const char *registry, const char *repository, const char *tag,
                     struct error *e);
int index_put_listing(struct index *x, const char *registry, const char *repository,
                      const char *kind, const char *key, const char *body, size_t length,
                      int64_t fetched_at, struct error *e);
int index_touch(struct index *x, const struct digest *d, int64_t used_at, struct error *e);
int index_add_hits(struct index *x, const struct digest *d, int64_t hits, struct error *e);
/* It stands as if it had come now. */
int index_renew(struct index *x, const struct digest *d, struct error *e);
/* reference: a tag, or a digest as text. A pin needs nothing held, and two of one name are one: 1
 * put, 0 was there, -1 */
int index_put_pin(struct index *x, const char *registry, const char *repository,
                  const char *reference, int64_t now_s, struct error *e);
/* 1 gone, 0 was absent, -1 */
int index_remove_pin(struct index *x, const char *registry, const char *repository,
                     const char *reference, struct error *e);
/* 1: a pin names that digest, or a tag that leads to it. */
int index_is_pinned(struct index *x, const struct digest *d, struct error *e);
/* 1: that, or there is such a pin on what names it, however far above, held or not. */
int index_is_below_pin(struct index *x, const struct digest *d, struct error *e);

int index_put_scrub(struct index *x, const struct index_scrub *scrub, struct error *e);

int64_t index_disk_bytes(const struct index *x); /* that its files take */
/* For who shares its folder, and has statements of his own. */
struct sql *index_writer(struct index *x);
struct sql *index_reading(struct index_reader *r);

#endif
