/* SPDX-License-Identifier: Apache-2.0
 * A thin layer over SQLite for this folder: open a database file, bring its schema up to date, run
 * the statements of sql.def (query_start, bind, query_step; see below). Nobody outside cache
 * includes it. A handle belongs to one thread at a time. Failures become kinds: a broken file, one
 * that is no database and one with another schema ERR_CORRUPT, a full disk ERR_NO_SPACE, a lock
 * held by a stranger ERR_BUSY, the rest ERR_IO or, if it is our mistake, ERR_INTERNAL. */
#ifndef CACHE_SQL_H
#define CACHE_SQL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/digest.h"

struct error;

enum sql_name {
#define X(name, text) SQL_##name,
#include "cache/sql.def"
#undef X
    SQL_COUNT
};

struct sql {
    sqlite3 *handle;
    char *path;
    sqlite3_stmt *statements[SQL_COUNT]; /* NULL until first used */
};

/* The writer: makes the file if it is absent, and its tables; refuses a later schema version
 * (ERR_USAGE); prepares every statement, so that a schema which is not ours fails here. On failure
 * *s is closed. */
int sql_open_writer(struct sql *s, const char *path, struct error *e);
int sql_open_reader(struct sql *s, const char *path, struct error *e);
/* Of a reader: the tables that prune.c writes to, which are no part of the file. */
int sql_make_scratch(struct sql *s, struct error *e);
void sql_close(struct sql *s);   /* a zeroed one is fine */
bool sql_is_busy(struct sql *s); /* somebody is in the midst of a statement's rows */
/* Reads every page: -1 and ERR_CORRUPT if one is not what it should be. */
int sql_check(struct sql *s, struct error *e);
/* SQLite calls a page that the disk does not give (EIO) a wrong one. Where e says ERR_CORRUPT,
 * reads every byte of the file and its log, whatever they mean: if one cannot be had now, e says
 * that. */
void sql_doubt(struct sql *s, struct error *e);
/* All of it as it is now into a new file, whatever became of its own. */
int sql_copy_to(struct sql *s, const char *path, struct error *e);
int sql_exec(struct sql *s, const char *text, struct error *e);
void sql_forget_pages(struct sql *s); /* what is read next is read from the file */
int sql_run(struct sql *s, enum sql_name name,
            struct error *e);        /* a statement without parameters */
void sql_rollback(struct sql *s);    /* if a transaction is open */
int64_t sql_last_row(struct sql *s); /* the id that the last INSERT gave */

/* One execution of a statement. Parameters are bound in the order of the calls and borrowed until
 * query_end. */
struct query {
    struct sql *sql;
    sqlite3_stmt *statement; /* NULL: it could not be prepared */
    int bound;
    int result; /* of the first call that failed */
};

struct query query_start(struct sql *s, enum sql_name name);
void query_text(struct query *q, const char *text);
void query_bytes(struct query *q, const void *bytes, size_t length);
void query_integer(struct query *q, int64_t value);
void query_digest(struct query *q, const struct digest *d); /* NULL or algorithm 0: SQL's NULL */
int query_step(struct query *q, struct error *e);           /* 1: a row; 0: no more; -1 */
int query_run(struct query *q, struct error *e);            /* to the end, without rows; 0 or -1 */
/* Visits the first column of each row; visit returns false to stop. Count visited or -1. */
int query_each_text(struct query *q, bool (*visit)(const char *text, void *cls), void *cls,
                    struct error *e);
void query_end(struct query *q); /* lets the read transaction go */
#define autoquery __attribute__((cleanup(query_end)))

/* Columns of the row; text is never NULL and lives until the next step. */
const char *query_get_text(struct query *q, int column);
bool query_is_null(struct query *q, int column);
int64_t query_get_integer(struct query *q, int column);
const void *query_get_bytes(struct query *q, int column, size_t *length); /* never NULL */
int query_get_digest(struct query *q, int column, struct digest *out,
                     struct error *e); /* ERR_CORRUPT if it is none */

#endif
