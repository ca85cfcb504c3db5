/* SPDX-License-Identifier: Apache-2.0
 * The index as a file: opening it, setting aside what is none, writing it again when somebody took
 * it away from a running mirror, and the steps by which it comes to know the files. Knows nothing
 * of what the rows mean. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/log.h"
#include "cache/agree.h"
#include "cache/index_inside.h"
#include "cache/room.h"
#include "cache/store.h"

#define FILE_NAME "tranship.db"
#define LOG_NAME FILE_NAME "-wal"

static const char *const file_names[] = {FILE_NAME, LOG_NAME, FILE_NAME "-shm"};
enum { FILES = sizeof file_names / sizeof *file_names };

/* --- the file --------------------------------------------------------------------------------- */

/* Replayed into a new file, the write-ahead log would break that one too. */
static void remove_logs(const struct index *x)
{
    for (int i = 1; i < FILES; i++)
        unlinkat(store_folder(x->store), file_names[i], 0);
}

static int set_aside(struct index *x, const struct error *why, struct error *e)
{
    bool is_later = why->kind == ERR_USAGE;
    const char *aside = is_later ? FILE_NAME ".later" : FILE_NAME ".broken";
    int folder = store_folder(x->store);
    log_event(LOG_LEVEL_ERROR,
              is_later ? "the index is of a later version, set aside"
                       : "the index is broken, set aside",
              LOG_S("folder", store_path(x->store)), LOG_S("kept-as", aside),
              LOG_S("reason", why->text), LOG_END);
    if (renameat(folder, FILE_NAME, folder, aside) < 0 && errno != ENOENT)
        return error_errno(e, "rename %s to %s", x->path, aside);
    remove_logs(x);
    x->is_made_anew = true;
    return 0;
}

/* A folder, a pipe or a device under one of its names was put there by somebody. The index may be a
 * link to a file; under the other two names SQLite follows none. */
static int clear_names(struct store *s, struct error *e)
{
    int folder = store_folder(s);
    for (size_t i = 0; i < FILES; i++) {
        struct stat st;
        int found = fstatat(folder, file_names[i], &st, i == 0 ? 0 : AT_SYMLINK_NOFOLLOW);
        if (found < 0 ? errno != ELOOP : S_ISREG(st.st_mode))
            continue;
        autofree char *aside = alloc_format("%s.broken", file_names[i]);
        log_event(LOG_LEVEL_ERROR, "what has the name of the index is no file, set aside",
                  LOG_S("folder", store_path(s)), LOG_S("name", file_names[i]),
                  LOG_S("kept-as", aside), LOG_END);
        if (renameat(folder, file_names[i], folder, aside) < 0)
            return error_errno(e, "rename %s/%s to %s", store_path(s), file_names[i], aside);
    }
    return 0;
}

static int find_last_turn(struct index *x, struct error *e)
{
    autoquery struct query q = query_start(&x->writer, SQL_LAST_TURN);
    if (query_step(&q, e) < 0)
        return -1;
    x->turn = query_get_integer(&q, 0);
    return 0;
}

/* Not behind a link, and not on a file system where SQLite can keep none. */
static bool has_log(const struct index *x)
{
    return faccessat(store_folder(x->store), LOG_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The handle that was there goes once there is another. SQLite leaves the new file's logs alone
 * then, for it sees that the old one has moved. */
static int open_file(struct index *x, struct error *e)
{
    struct sql opened;
    if (sql_open_writer(&opened, x->path, e) < 0)
        return -1;
    sql_close(&x->writer);
    x->writer = opened;
    atomic_fetch_add(&x->generation, 1);
    if (fstatat(store_folder(x->store), FILE_NAME, &x->file, 0) < 0)
        return error_errno(e, "stat %s", x->path);
    x->has_log = has_log(x);
    return find_last_turn(x, e);
}

/* --- in line with the files ------------------------------------------------------------------- */

static void end_agree(struct index *x)
{
    struct agree_result r = agree_result(x->agree);
    if (x->is_made_anew && r.adopted)
        log_event(
            LOG_LEVEL_WARNING,
            "the index was made anew from the files; what tags meant, pins and listings are lost",
            LOG_I("blobs", r.adopted), LOG_I("manifests", r.manifests), LOG_END);
    else if (r.adopted || r.lost)
        log_event(LOG_LEVEL_INFO, "index brought in line with the files",
                  LOG_I("adopted", r.adopted), LOG_I("manifests", r.manifests),
                  LOG_I("lost", r.lost), LOG_END);
    agree_free(x->agree);
    x->agree = NULL;
    x->is_made_anew = false;
    atomic_store(&x->is_behind, false);
    room_set_stuck(store_room(x->store), false);
}

int index_compare(struct index *x, struct error *e)
{
    struct agree *a = agree_begin(x->store, x, e);
    if (!a)
        return -1;
    agree_free(x->agree);
    x->agree = a;
    x->agreed = (struct index_agreed){0};
    atomic_store(&x->is_behind, true);
    return 0;
}

/* While rows are missing nothing is evicted, as parts of images would look like nobody's: what does
 * not fit need not wait. */
int index_step(struct index *x, struct error *e)
{
    if (!x->agree)
        return 0;
    int got = agree_step(x->agree, e);
    const struct agree_result r = agree_result(x->agree);
    x->agreed = (struct index_agreed){r.adopted, r.lost};
    if (got == 0)
        end_agree(x);
    else
        room_set_stuck(store_room(x->store), true);
    return got;
}

struct index_agreed index_agreed(const struct index *x)
{
    return x->agreed;
}

bool index_is_agreeing(const struct index *x)
{
    return x->agree != NULL;
}

/* --- opening ---------------------------------------------------------------------------------- */

static struct index *index_new(struct store *s)
{
    struct index *x = alloc_zero(sizeof *x);
    x->store = s;
    x->path = alloc_format("%s/" FILE_NAME, store_path(s));
    x->is_made_anew = faccessat(store_folder(s), FILE_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
    return x;
}

static int open_and_compare(struct index *x, struct error *e)
{
    if (open_file(x, e) < 0)
        return -1;
    int result = index_compare(x, e);
    if (result < 0)
        sql_doubt(&x->writer, e);
    return result;
}

/* SQLite takes a file for broken, too, if it could not read it in the wrong moment; and what is set
 * aside takes its tags along. So it has to say so twice. */
static int open_unless_broken(struct index *x, struct error *e)
{
    int result = open_and_compare(x, e);
    return result < 0 && e->kind == ERR_CORRUPT ? open_and_compare(x, e) : result;
}

/* The comparison has read all rows of blobs by then, so what can be seen to be broken is. */
static struct index *open_any(struct store *s, bool takes_later, bool *rebuilt, struct error *e)
{
    struct error why = {0};
    struct index *x = index_new(s);
    int result = clear_names(s, &why);
    if (result == 0)
        result = open_unless_broken(x, &why);
    *rebuilt = result < 0 && (why.kind == ERR_CORRUPT || (takes_later && why.kind == ERR_USAGE));
    if (*rebuilt) {
        sql_close(&x->writer);
        result = set_aside(x, &why, &why);
        if (result == 0)
            result = open_and_compare(x, &why);
    }
    if (result == 0)
        return x;
    if (e)
        *e = why;
    index_close(x);
    return NULL;
}

struct index *index_open(struct store *s, bool *rebuilt, struct error *e)
{
    int got = 1;
    struct index *x = open_any(s, false, rebuilt, e);
    while (x && got == 1)
        got = index_step(x, e);
    if (got == 0)
        return x;
    index_close(x);
    return NULL;
}

struct index *index_open_serving(struct store *s, struct error *e)
{
    bool ignored;
    return open_any(s, true, &ignored, e);
}

struct index *index_open_sound(struct store *s, struct error *e)
{
    struct index *x = index_new(s);
    if (open_file(x, e) == 0)
        return x;
    index_close(x);
    return NULL;
}

void index_close(struct index *x)
{
    if (!x)
        return;
    agree_free(x->agree);
    sql_close(&x->writer);
    free(x->path);
    free(x);
}

int64_t index_disk_bytes(const struct index *x)
{
    int64_t sum = 0;
    for (int i = 0; i < FILES; i++) {
        struct stat st;
        if (fstatat(store_folder(x->store), file_names[i], &st, 0) == 0)
            sum += 512 * (int64_t)st.st_blocks;
    }
    return sum;
}

struct sql *index_writer(struct index *x)
{
    return &x->writer;
}

/* --- mending under a running mirror ----------------------------------------------------------- */

static bool has_its_name(const struct index *x)
{
    struct stat st;
    return fstatat(store_folder(x->store), FILE_NAME, &st, 0) == 0 && st.st_dev == x->file.st_dev &&
           st.st_ino == x->file.st_ino && (!x->has_log || has_log(x));
}

/* The open descriptors still have all of it. */
static int write_again(struct index *x, struct error *e)
{
    int folder = store_folder(x->store);
    autofree char *copy = alloc_format("%s.new", x->path);
    unlinkat(folder, FILE_NAME ".new", 0);
    if (clear_names(x->store, e) < 0 || sql_copy_to(&x->writer, copy, e) < 0)
        return -1;
    remove_logs(x);
    if (renameat(folder, FILE_NAME ".new", folder, FILE_NAME) < 0)
        return error_errno(e, "rename %s", copy);
    if (open_file(x, e) < 0)
        return -1;
    log_event(LOG_LEVEL_WARNING, "the index had been taken away, and is written again",
              LOG_S("folder", store_path(x->store)), LOG_END);
    return 0;
}

/* Who finds nothing in the new file looks among the files, from before it is there. */
static int make_anew(struct index *x, const struct error *why, struct error *e)
{
    atomic_store(&x->is_behind, true);
    return set_aside(x, why, e) < 0 || open_file(x, e) < 0 || index_compare(x, e) < 0 ? -1 : 0;
}

/* By the handle that there is: SQLite closes no other one's descriptor while a lock is held. */
static bool looks_broken(struct index *x)
{
    struct error e = {0};
    sql_forget_pages(&x->writer);
    if (sql_check(&x->writer, &e) < 0)
        sql_doubt(&x->writer, &e);
    return e.kind == ERR_CORRUPT;
}

/* A read that failed in the wrong moment looks the same to SQLite: a look at all of it tells, and a
 * second one. */
static int mend_broken(struct index *x, const struct error *why, struct error *e)
{
    return looks_broken(x) && looks_broken(x) ? make_anew(x, why, e) : 0;
}

static int mend_lost(struct index *x, struct error *e)
{
    struct error why = {0};
    int result = write_again(x, &why);
    if (result < 0 && why.kind == ERR_CORRUPT)
        result = write_again(x, &why);
    if (result == 0)
        return 0;
    sql_doubt(&x->writer, &why);
    if (why.kind == ERR_CORRUPT)
        return make_anew(x, &why, e);
    return error_set(e, why.kind, "%s", why.text);
}

int index_mend(struct index *x, const struct error *broken, struct error *e)
{
    int result = 0;
    if (!has_its_name(x))
        result = mend_lost(x, e);
    else if (broken && broken->kind == ERR_CORRUPT)
        result = mend_broken(x, broken, e);
    if (result < 0 && !x->has_complained)
        log_event(LOG_LEVEL_ERROR, "the index cannot be mended now", LOG_S("reason", e->text),
                  LOG_END);
    x->has_complained = result < 0;
    return result;
}

/* --- readers ---------------------------------------------------------------------------------- */

struct index_reader *index_reader_open(struct index *x, struct error *e)
{
    autofree struct index_reader *r = alloc_zero(sizeof(*r));
    r->x = x;
    r->generation = atomic_load(&x->generation);
    if (sql_open_reader(&r->sql, x->path, e) < 0)
        return NULL;
    return take(r);
}

struct index_reader *index_reader_open_beside(struct store *s, struct error *e)
{
    autofree char *path = alloc_format("%s/" FILE_NAME, store_path(s));
    autofree struct index_reader *r = alloc_zero(sizeof(*r));
    if (faccessat(store_folder(s), FILE_NAME, R_OK, 0) < 0) {
        error_set(e, ERR_NOT_FOUND, "data folder %s has no index yet", store_path(s));
        return NULL;
    }
    if (sql_open_reader(&r->sql, path, e) < 0)
        return NULL;
    return take(r);
}

void index_reader_close(struct index_reader *r)
{
    if (!r)
        return;
    sql_close(&r->sql);
    free(r);
}

/* Not in the midst of rows: their statement would go with the handle. */
static void follow(struct index_reader *r)
{
    struct sql opened;
    unsigned generation = atomic_load(&r->x->generation);
    if (generation == r->generation || sql_is_busy(&r->sql) ||
        sql_open_reader(&opened, r->x->path, NULL) < 0)
        return;
    sql_close(&r->sql);
    r->sql = opened;
    r->generation = generation;
}

struct sql *index_reading(struct index_reader *r)
{
    if (r->x)
        follow(r);
    return &r->sql;
}

struct query index_query(struct index_reader *r, enum sql_name name)
{
    return query_start(index_reading(r), name);
}

bool index_is_behind(const struct index_reader *r)
{
    return r->x && atomic_load(&r->x->is_behind);
}
