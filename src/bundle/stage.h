/* SPDX-License-Identifier: Apache-2.0
 * Where an import keeps what has come until all of it is there: DATA/import/<id>/, one folder a
 * bundle, one import at a time in it. A file named by a digest was hashed and made durable before
 * it got that name; pieces of a blob stand in a file of their own until they are put together. What
 * nobody took up for a week goes. Waits for the disk; one thread. */
#ifndef BUNDLE_STAGE_H
#define BUNDLE_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/digest.h"

struct error;
struct hasher;
struct stage;
struct store;

#define STAGE_PLAN "plan.json"
#define STAGE_NAME_MAX 160

/* is_resumable: what an earlier one left is gone on with, and each blob is durable before it gets
 * its name; otherwise what is left is removed, and stage_sync makes durable. ERR_BUSY if another
 * process imports the same. */
struct stage *stage_open(struct store *s, const struct digest *id, bool is_resumable,
                         struct error *e);
void stage_close(struct stage *g);  /* what is there stays; NULL is fine */
void stage_remove(struct stage *g); /* closes too */
int stage_folder(const struct stage *g);
const char *stage_id(const struct stage *g); /* hex: the folder's name */

const char *stage_name(const struct digest *d, char out[STAGE_NAME_MAX]); /* "<algorithm>-<hex>" */
bool stage_has(struct stage *g, const struct digest *d, uint64_t *size_bytes);
void stage_forget(struct stage *g, const struct digest *d);
/* The blob staged here, or else the store's. 1, 0 in neither, -1. */
int stage_get(struct stage *g, struct store *s, const struct digest *d, int *fd,
              uint64_t *size_bytes, struct error *e);

int stage_sync(struct stage *g, const struct digest *d, struct error *e); /* if it is here */

/* Pieces: the file that they are written into (made if it is not there). The descriptor or -1. */
int stage_part(struct stage *g, const struct digest *d, struct error *e);
/* All are there: 0 if it is that blob, -1 (ERR_CORRUPT, and the pieces are gone) if not. */
int stage_join(struct stage *g, const struct digest *d, uint64_t size_bytes, struct error *e);

/* That a volume was taken in to its end. */
int stage_mark(struct stage *g, size_t volume, struct error *e);
bool stage_is_marked(struct stage *g, size_t volume);

/* A blob on its way in: hashed as it comes, and written unless it is not wanted here. */
struct arrival {
    struct stage *stage; /* NULL: it is only hashed */
    struct hasher *hasher;
    int fd;
    uint64_t at;
};
/* s NULL: hash only. arrival_end or arrival_drop must follow. */
int arrival_begin(struct arrival *a, struct stage *s, enum digest_algorithm algorithm,
                  struct error *e);
int arrival_write(struct arrival *a, const void *bytes, size_t length, struct error *e);
/* wanted: what it must be (ERR_CORRUPT otherwise), NULL: anything; found may be NULL. */
int arrival_end(struct arrival *a, const struct digest *wanted, struct digest *found,
                struct error *e);
void arrival_drop(struct arrival *a);

#endif
