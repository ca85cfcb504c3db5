/* SPDX-License-Identifier: Apache-2.0
 * What index.c and index_open.c share. Inside of cache/. */
#ifndef CACHE_INDEX_INSIDE_H
#define CACHE_INDEX_INSIDE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "cache/index.h"
#include "cache/sql.h"

struct agree;

struct index {
    struct store *store;
    char *path;
    struct sql writer;          /* the ledger's thread only, once opened */
    int64_t turn;               /* the latest in the order of coming; one a transaction */
    struct stat file;           /* that the writer has open */
    bool has_log;               /* and a log beside it */
    struct agree *agree;        /* while files and rows are brought in line */
    struct index_agreed agreed; /* by the last comparison */
    bool is_made_anew;          /* to be told once they are */
    bool has_complained;        /* that it cannot be mended */
    _Atomic bool is_behind;
    _Atomic unsigned generation; /* of the file: who reads opens it again when this has moved */
};

struct index_reader {
    struct index *x; /* NULL: beside the process that owns it */
    unsigned generation;
    struct sql sql;
};

/* A query on the file that is the index now. */
struct query index_query(struct index_reader *r, enum sql_name name);

#endif
