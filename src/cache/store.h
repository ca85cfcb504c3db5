/* SPDX-License-Identifier: Apache-2.0
 * The data folder's files. blobs/<algorithm>/<hex> is verified content in the layout of the OCI
 * image spec (image-layout.md): a name there is a proof. ingest/ holds content on its way in:
 * <algorithm>-<hex> (sparse data), <algorithm>-<hex>.map (which bytes of it are present). Knows no
 * index and verifies nothing itself. One process owns a data folder (an flock on the folder
 * itself). All calls wait for the disk. Any thread. */
#ifndef CACHE_STORE_H
#define CACHE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/digest.h"

struct error;
struct room;
struct store;

#define STORE_DOOR "tranship.sock" /* in the data folder: the local door of who serves it */

/* Opens or makes the folder: blobs/sha256, blobs/sha512, ingest, oci-layout. Fails with one clear
 * line (ERR_IO, or ERR_BUSY "… is in use by another tranship") when it cannot be written or another
 * process holds it. */
struct store *store_open(const char *path, struct error *e);
/* To read beside the process that owns the folder: takes no lock and makes nothing. What is not
 * there yet is ERR_NOT_FOUND. */
struct store *store_open_beside(const char *path, struct error *e);
void store_close(struct store *s);
int store_folder(
    const struct store *s); /* descriptor of the data folder, borrowed: the index lives there */
const char *store_path(const struct store *s);
/* What its files take of the disk; the store tells it of each that comes or goes. Borrowed. */
struct room *store_room(const struct store *s);

/* A held blob, read-only. 1: *fd is the caller's, *size_bytes filled; 0: not held; -1: failed (not
 * a regular file: ERR_CORRUPT). */
int store_get(struct store *s, const struct digest *d, int *fd, uint64_t *size_bytes,
              struct error *e);
int store_has(struct store *s, const struct digest *d, uint64_t *size_bytes); /* 1 or 0; by stat */

/* Content on its way in: opens or makes ingest/<algorithm>-<hex> read-write. The descriptor or -1.
 */
int store_partial_open(struct store *s, const struct digest *d, struct error *e);
/* The map's bytes as last written (owned, 0-terminated): 1, 0 none, -1 failed. At most 1 MiB. */
int store_partial_read_map(struct store *s, const struct digest *d, char **bytes, size_t *length,
                           struct error *e);
/* Replaces the map as a whole: a reader sees the old or the new. Not fsynced: a lost map costs only
 * a refetch. */
int store_partial_write_map(struct store *s, const struct digest *d, const char *bytes,
                            size_t length, struct error *e);
void store_partial_remove(struct store *s,
                          const struct digest *d); /* data and map; absent is fine */

/* Publishing. fd is the partial's, whose content the caller has verified. fsync of the file, rename
 * into blobs/, removal of the map. The name is durable only after store_sync. Publishing what is
 * already held replaces it. */
int store_publish(struct store *s, const struct digest *d, int fd, struct error *e);
/* Bytes that the caller has verified, from memory: written under a temporary name in ingest/, then
 * as above. */
int store_publish_bytes(struct store *s, const struct digest *d, const void *bytes, size_t length,
                        struct error *e);
/* Content that another process has verified and made durable under that name of a folder on the
 * same file system. A name that is gone is fine if the content is held: it was published before. */
int store_publish_staged(struct store *s, const struct digest *d, int folder, const char *name,
                         struct error *e);
int store_sync(struct store *s,
               struct error *e); /* fsync of blobs/<algorithm> and ingest: one for many publishes */

int store_remove(struct store *s, const struct digest *d,
                 struct error *e); /* 1 gone, 0 was absent, -1 */

/* Calls visit for every well-named regular file under blobs/. Stops and returns -1 if visit does;
 * names that are no digest are skipped. */
int store_walk(struct store *s,
               int (*visit)(const struct digest *d, uint64_t size_bytes, void *cls), void *cls,
               struct error *e);
/* The same without the sizes, so without asking the disk about each file: a million names in well
 * under a second. */
int store_list(struct store *s, int (*visit)(const struct digest *d, void *cls), void *cls,
               struct error *e);

/* The same for whatever has such a name, regular file or not. */
int store_list_names(struct store *s, int (*visit)(const struct digest *d, void *cls), void *cls,
                     struct error *e);

/* Start-up: drops from ingest/ what can no longer serve: temporaries, data without a map or a map
 * without data, content already in blobs/, anything older than max_age_s, anything that is no file
 * of ours. Counts kept and dropped: data and its map count as one. A foreign device, socket or
 * filled folder stays and is told in the log. */
int store_sweep_ingest(struct store *s, int64_t max_age_s, unsigned *kept, unsigned *dropped,
                       struct error *e);

#endif
