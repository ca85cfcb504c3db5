/* SPDX-License-Identifier: Apache-2.0
 * SQLite handles, the schema and its migrations, prepared statements. Knows tables, not what they
 * are for; never decides what to do about a failure. */
#include "cache/sql.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"

static const char *const statement_texts[SQL_COUNT] = {
#define X(name, text) [SQL_##name] = text,
#include "cache/sql.def"
#undef X
};

/* Each brings the schema one version further; user_version counts how many were run. Never edited
 * once released. A digest is a BLOB: the byte of its algorithm, then its bytes, so that byte order
 * is the order of the files. */
static const char *const migrations[] = {
    "CREATE TABLE repository (id INTEGER PRIMARY KEY, registry TEXT NOT NULL, name TEXT NOT NULL,"
    " UNIQUE (registry, name));"
    "CREATE TABLE blob (digest BLOB PRIMARY KEY NOT NULL, size INTEGER NOT NULL, stored_at INTEGER "
    "NOT NULL,"
    " used_at INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE manifest (digest BLOB PRIMARY KEY NOT NULL, media_type TEXT NOT NULL,"
    " artifact_type TEXT NOT NULL, subject BLOB, annotations TEXT NOT NULL);"
    "CREATE INDEX manifest_subject ON manifest (subject, digest) WHERE subject IS NOT NULL;"
    "CREATE TABLE child (manifest BLOB NOT NULL, position INTEGER NOT NULL, digest BLOB NOT NULL,"
    " kind INTEGER NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL, platform TEXT NOT "
    "NULL,"
    " PRIMARY KEY (manifest, position)) WITHOUT ROWID;"
    "CREATE INDEX child_digest ON child (digest);"
    "CREATE TABLE holds (repository INTEGER NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL,"
    " PRIMARY KEY (repository, digest)) WITHOUT ROWID;"
    "CREATE TABLE tag (repository INTEGER NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL,"
    " checked_at INTEGER NOT NULL, PRIMARY KEY (repository, name)) WITHOUT ROWID;"
    "CREATE TABLE listing (repository INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,"
    " body BLOB NOT NULL, fetched_at INTEGER NOT NULL, PRIMARY KEY (repository, kind, key));",
    /* 2: what was fetched or confirmed there, and not only named by a manifest. Of older rows
     * nobody knows; the upstreams of that time had no private content. */
    "ALTER TABLE holds ADD COLUMN proven INTEGER NOT NULL DEFAULT 1;",
    /* 3: pins; an order of blobs, and the ways from a digest to what names it, for what goes next.
     * A pin's digest is NULL where its reference is a tag. */
    "CREATE TABLE pin (repository INTEGER NOT NULL, reference TEXT NOT NULL, digest BLOB,"
    " pinned_at INTEGER NOT NULL, PRIMARY KEY (repository, reference)) WITHOUT ROWID;"
    "CREATE INDEX pin_digest ON pin (digest) WHERE digest IS NOT NULL;"
    "ALTER TABLE blob ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;"
    "UPDATE blob SET turn = used_at;"
    "CREATE INDEX blob_turn ON blob (turn);"
    "CREATE INDEX holds_digest ON holds (digest);"
    "CREATE INDEX tag_digest ON tag (digest);",
    /* 4: was used since the hand of evict.c came by; turn is the order in which blobs came. */
    "ALTER TABLE blob ADD COLUMN used INTEGER NOT NULL DEFAULT 0;",
    /* 5: something of it came by an import. */
    "ALTER TABLE repository ADD COLUMN is_imported INTEGER NOT NULL DEFAULT 0;",
    /* 6: the one row of scrub.c: the last blob that its pass has looked at, NULL once it has ended.
     */
    "CREATE TABLE scrub (id INTEGER PRIMARY KEY, place BLOB, began_at INTEGER NOT NULL);",
    /* 7: how often it was served from here. */
    "ALTER TABLE blob ADD COLUMN hits INTEGER NOT NULL DEFAULT 0;",
};
#define SCHEMA_VERSION ((int64_t)(sizeof(migrations) / sizeof(migrations[0])))

/* synchronous=NORMAL: a commit does not wait for the disk, only a checkpoint does. A power cut may
 * take back the last commits but never breaks the file, and what it takes back costs little: a
 * blob's file was made durable before its row, so the next start adopts it; a tag or a hold is
 * asked of the upstream once more. */
static const char writer_settings[] = "PRAGMA journal_mode = WAL;"
                                      "PRAGMA synchronous = NORMAL;"
                                      "PRAGMA cache_size = -8192;"
                                      "PRAGMA journal_size_limit = 67108864;";

/* Not mapped, for a page that was cut off, or that the disk cannot read, would end the process by a
 * signal; read, it is an error of one query. */
static const char reader_settings[] = "PRAGMA query_only = 1;"
                                      "PRAGMA mmap_size = 0;";
/* One handle per thread that answers, and as many of those as processors; together they cache this
 * much, of which only what was read is taken. */
enum { READERS_KIB = 64 << 10, READER_MAX_KIB = 16 << 10, READER_MIN_KIB = 2 << 10 };

/* What prune.c compares with; gone with the connection. In memory, as there need be no other place.
 */
static const char scratch_tables[] =
    "PRAGMA query_only = 0;"
    "PRAGMA temp_store = MEMORY;"
    "CREATE TEMP TABLE IF NOT EXISTS wanted (digest BLOB NOT NULL, repository INTEGER NOT NULL,"
    " PRIMARY KEY (digest, repository)) WITHOUT ROWID;"
    "CREATE TEMP TABLE IF NOT EXISTS wanted_tag (repository INTEGER NOT NULL, name TEXT NOT NULL,"
    " PRIMARY KEY (repository, name)) WITHOUT ROWID;";

#define BUSY_TIMEOUT_MS                                                                            \
    250 /* readers and writer do not wait for each other in WAL; this is for strangers */

/* --- errors ----------------------------------------------------------------------------------- */

static enum error_kind kind_of(struct sql *s, int result)
{
    int reason = s->handle ? sqlite3_system_errno(s->handle) : 0;
    switch (result & 0xff) { /* the primary code */
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* no such table or column: some other program's database */
    case SQLITE_MISMATCH:
        return ERR_CORRUPT;
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return reason == ENOSPC || reason == EDQUOT ? ERR_NO_SPACE : ERR_IO;
    case SQLITE_PERM:
    case SQLITE_READONLY:
        return ERR_IO;
    default:
        return ERR_INTERNAL;
    }
}

static int sql_error(struct sql *s, int result, struct error *e)
{
    const char *text = s->handle ? sqlite3_errmsg(s->handle) : sqlite3_errstr(result);
    return error_set(e, kind_of(s, result), "index %s: %s", s->path, text);
}

/* --- handles ---------------------------------------------------------------------------------- */

int sql_exec(struct sql *s, const char *text, struct error *e)
{
    int result = sqlite3_exec(s->handle, text, NULL, NULL, NULL);
    return result == SQLITE_OK ? 0 : sql_error(s, result, e);
}

void sql_close(struct sql *s)
{
    for (int i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->handle);
    free(s->path);
    *s = (struct sql){0};
}

static int open_handle(struct sql *s, const char *path, int flags, const char *settings,
                       struct error *e)
{
    *s = (struct sql){.path = alloc_string(path)};
    int result = sqlite3_open_v2(path, &s->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (result != SQLITE_OK)
        return sql_error(s, result, e);
    sqlite3_extended_result_codes(s->handle, 1);
    sqlite3_busy_timeout(s->handle, BUSY_TIMEOUT_MS);
    return sql_exec(s, settings, e);
}

bool sql_is_busy(struct sql *s)
{
    for (int i = 0; i < SQL_COUNT; i++)
        if (s->statements[i] && sqlite3_stmt_busy(s->statements[i]))
            return true;
    return false;
}

int sql_check(struct sql *s, struct error *e)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(s->handle, "PRAGMA integrity_check(1)", -1, &statement, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    if (result != SQLITE_ROW)
        sql_error(s, result, e);
    else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0)
        error_set(e, ERR_CORRUPT, "index %s: %.200s", s->path,
                  (const char *)sqlite3_column_text(statement, 0));
    else
        result = SQLITE_OK;
    sqlite3_finalize(statement);
    return result == SQLITE_OK ? 0 : -1;
}

static int read_file(struct sql *s, int which, struct error *e)
{
    enum { STEP_BYTES = 1 << 16 };
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    if (sqlite3_file_control(s->handle, "main", which, &file) != SQLITE_OK || !file ||
        !file->pMethods)
        return 0;
    autofree char *bytes = alloc_zero(STEP_BYTES);
    int result = file->pMethods->xFileSize(file, &size);
    for (sqlite3_int64 at = 0; result == SQLITE_OK && at < size; at += STEP_BYTES) {
        result = file->pMethods->xRead(file, bytes, STEP_BYTES, at);
        if (result == SQLITE_IOERR_SHORT_READ) /* its last step */
            result = SQLITE_OK;
    }
    if (result == SQLITE_OK)
        return 0;
    return error_set(e, ERR_IO, "index %s cannot be read (%s): taken away, it is made anew",
                     s->path, sqlite3_errstr(result));
}

void sql_doubt(struct sql *s, struct error *e)
{
    if (s->handle && e && e->kind == ERR_CORRUPT && read_file(s, SQLITE_FCNTL_FILE_POINTER, e) == 0)
        (void)read_file(s, SQLITE_FCNTL_JOURNAL_POINTER, e);
}

int sql_copy_to(struct sql *s, const char *path, struct error *e)
{
    char *text = sqlite3_mprintf("VACUUM INTO %Q", path);
    int result = text ? sql_exec(s, text, e) : error_set(e, ERR_INTERNAL, "out of memory");
    sqlite3_free(text);
    return result;
}

void sql_forget_pages(struct sql *s)
{
    sqlite3_db_release_memory(s->handle);
}

static int prepare(struct sql *s, enum sql_name name)
{
    if (s->statements[name])
        return SQLITE_OK;
    return sqlite3_prepare_v3(s->handle, statement_texts[name], -1, SQLITE_PREPARE_PERSISTENT,
                              &s->statements[name], NULL);
}

static int read_version(struct sql *s, int64_t *version, struct error *e)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(s->handle, "PRAGMA user_version", -1, &statement, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        *version = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return result == SQLITE_ROW ? 0 : sql_error(s, result, e);
}

static int migrate_once(struct sql *s, int64_t version, struct error *e)
{
    char set_version[64];
    sqlite3_snprintf(sizeof(set_version), set_version, "PRAGMA user_version = %lld",
                     (long long)version + 1);
    if (sql_exec(s, "BEGIN IMMEDIATE", e) < 0)
        return -1;
    if (sql_exec(s, migrations[version], e) == 0 && sql_exec(s, set_version, e) == 0 &&
        sql_exec(s, "COMMIT", e) == 0)
        return 0;
    sql_rollback(s);
    return -1;
}

static int migrate(struct sql *s, struct error *e)
{
    int64_t version = 0;
    if (read_version(s, &version, e) < 0)
        return -1;
    if (version > SCHEMA_VERSION)
        return error_set(e, ERR_USAGE,
                         "index %s has schema version %lld, this tranship knows up to %lld: start "
                         "the newer one again",
                         s->path, (long long)version, (long long)SCHEMA_VERSION);
    if (version < 0)
        return error_set(e, ERR_CORRUPT, "index %s has schema version %lld", s->path,
                         (long long)version);
    for (; version < SCHEMA_VERSION; version++)
        if (migrate_once(s, version, e) < 0)
            return -1;
    return 0;
}

static int prepare_all(struct sql *s, struct error *e)
{
    for (int i = 0; i < SQL_COUNT; i++) {
        int result = prepare(s, (enum sql_name)i);
        if (result != SQLITE_OK)
            return sql_error(s, result, e);
    }
    return 0;
}

int sql_make_scratch(struct sql *s, struct error *e)
{
    return sql_exec(s, scratch_tables, e);
}

int sql_open_writer(struct sql *s, const char *path, struct error *e)
{
    if (open_handle(s, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, writer_settings, e) == 0 &&
        migrate(s, e) == 0 && sql_make_scratch(s, e) == 0 && prepare_all(s, e) == 0)
        return 0;
    sql_doubt(s, e);
    sql_close(s);
    return -1;
}

static int set_reader_cache(struct sql *s, struct error *e)
{
    char text[64];
    long processors = sysconf(_SC_NPROCESSORS_ONLN),
         kib = READERS_KIB / (processors > 0 ? processors : 1);
    kib = kib > READER_MAX_KIB ? READER_MAX_KIB : kib < READER_MIN_KIB ? READER_MIN_KIB : kib;
    snprintf(text, sizeof text, "PRAGMA cache_size = -%ld;", kib);
    return sql_exec(s, text, e);
}

int sql_open_reader(struct sql *s, const char *path, struct error *e)
{
    if (open_handle(s, path, SQLITE_OPEN_READONLY, reader_settings, e) == 0 &&
        set_reader_cache(s, e) == 0)
        return 0;
    sql_close(s);
    return -1;
}

/* --- statements ------------------------------------------------------------------------------- */

struct query query_start(struct sql *s, enum sql_name name)
{
    struct query q = {.sql = s, .result = prepare(s, name)};
    q.statement = s->statements[name];
    return q;
}

static void note_bind(struct query *q, int result)
{
    if (q->result == SQLITE_OK)
        q->result = result;
}

void query_text(struct query *q, const char *text)
{
    q->bound++;
    if (q->statement)
        note_bind(q, sqlite3_bind_text(q->statement, q->bound, text, -1, SQLITE_STATIC));
}

void query_bytes(struct query *q, const void *bytes, size_t length)
{
    q->bound++;
    /* A NULL pointer would bind SQL's NULL: no bytes are an empty value here. */
    if (q->statement)
        note_bind(q, sqlite3_bind_blob64(q->statement, q->bound, length ? bytes : "", length,
                                         SQLITE_STATIC));
}

void query_integer(struct query *q, int64_t value)
{
    q->bound++;
    if (q->statement)
        note_bind(q, sqlite3_bind_int64(q->statement, q->bound, value));
}

/* struct digest is laid out as the key is: the algorithm's byte, then the digest's. */
_Static_assert(offsetof(struct digest, algorithm) == 0 && offsetof(struct digest, bytes) == 1,
               "a digest is the key of its rows as it lies in memory");

void query_digest(struct query *q, const struct digest *d)
{
    if (d && d->algorithm) {
        query_bytes(q, d, 1 + digest_bytes(d));
        return;
    }
    q->bound++;
    if (q->statement)
        note_bind(q, sqlite3_bind_null(q->statement, q->bound));
}

int query_step(struct query *q, struct error *e)
{
    if (q->result != SQLITE_OK)
        return sql_error(q->sql, q->result, e);
    int result = sqlite3_step(q->statement);
    if (result == SQLITE_ROW)
        return 1;
    if (result == SQLITE_DONE)
        return 0;
    return sql_error(q->sql, result, e);
}

int query_run(struct query *q, struct error *e)
{
    int got = query_step(q, e);
    return got < 0 ? -1 : 0;
}

int query_each_text(struct query *q, bool (*visit)(const char *text, void *cls), void *cls,
                    struct error *e)
{
    int count = 0, got;
    while ((got = query_step(q, e)) > 0) {
        count++;
        if (!visit(query_get_text(q, 0), cls))
            break;
    }
    return got < 0 ? -1 : count;
}

void query_end(struct query *q)
{
    if (!q->statement)
        return;
    sqlite3_reset(q->statement);
    sqlite3_clear_bindings(q->statement); /* they were borrowed */
}

int sql_run(struct sql *s, enum sql_name name, struct error *e)
{
    autoquery struct query q = query_start(s, name);
    return query_run(&q, e);
}

/* A failed statement may have ended the transaction by itself: then there is nothing left to roll
 * back. */
void sql_rollback(struct sql *s)
{
    if (!sqlite3_get_autocommit(s->handle))
        sql_exec(s, "ROLLBACK", NULL);
}

int64_t sql_last_row(struct sql *s)
{
    return sqlite3_last_insert_rowid(s->handle);
}

const char *query_get_text(struct query *q, int column)
{
    const char *text = (const char *)sqlite3_column_text(q->statement, column);
    return text ? text : "";
}

bool query_is_null(struct query *q, int column)
{
    return sqlite3_column_type(q->statement, column) == SQLITE_NULL;
}

int64_t query_get_integer(struct query *q, int column)
{
    return sqlite3_column_int64(q->statement, column);
}

const void *query_get_bytes(struct query *q, int column, size_t *length)
{
    const void *bytes = sqlite3_column_blob(q->statement, column);
    *length = (size_t)sqlite3_column_bytes(q->statement, column);
    return bytes ? bytes : "";
}

int query_get_digest(struct query *q, int column, struct digest *out, struct error *e)
{
    struct digest d = {0};
    const uint8_t *key = sqlite3_column_blob(q->statement, column);
    size_t length = (size_t)sqlite3_column_bytes(q->statement, column);
    if (key && length > 1 && length <= sizeof(d) &&
        (key[0] == DIGEST_SHA256 || key[0] == DIGEST_SHA512)) {
        memcpy(&d, key, length);
        if (length == 1 + digest_bytes(&d)) {
            *out = d;
            return 0;
        }
    }
    return error_set(e, ERR_CORRUPT, "index %s: a digest of %zu bytes", q->sql->path, length);
}
