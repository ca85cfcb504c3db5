/* SPDX-License-Identifier: Apache-2.0
 * One import under way: what the readers of our own format (strict) and of strangers' archives
 * (foreign, docker, members) share. Inside bundle only. */
#ifndef BUNDLE_INTAKE_H
#define BUNDLE_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundle/contents.h"
#include "bundle/import.h"
#include "bundle/volumes.h"

struct index_reader;
struct manifest;
struct stage;
struct store;

#define INTAKE_READ_BYTES ((size_t)1 << 20)
#define INTAKE_RESERVE_BYTES ((uint64_t)16 << 20) /* of the disk, left for everybody else */

struct intake {
    const struct import_options *options;
    struct store *store;
    struct index_reader *reader; /* NULL while there is no index */
    struct digest id;            /* of what comes */
    bool was_whole;              /* all of it is in already: nothing of it is read */
    struct stage *stage;         /* NULL until it is known which */
    bool is_kept;                /* the stage is the rehearsal's, which ends it */
    struct contents contents;
    struct volumes volumes; /* of our own format */
    bool is_ours;
    char *buffer; /* INTAKE_READ_BYTES */
};

void intake_note(const struct intake *in, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* ERR_NO_SPACE unless that much can be written. */
int intake_check_space(const struct intake *in, uint64_t bytes, struct error *e);
bool intake_is_held(const struct intake *in, const struct digest *d, uint64_t size_bytes);
/* A blob that came, was staged or is held. 1, 0, -1. */
int intake_read(const struct intake *in, const struct digest *d, size_t max, char **bytes,
                size_t *length, struct error *e);
/* Its text parsed; media_type "" if nobody said. 1, 0, -1. */
int intake_read_manifest(const struct intake *in, const struct digest *d, const char *media_type,
                         struct manifest *m, struct error *e);

/* Of one that comes in one piece: true unless a dry run can do without it on the disk. */
bool intake_wants(const struct intake *in, const struct digest *d);

#endif
