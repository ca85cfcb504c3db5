/* SPDX-License-Identifier: Apache-2.0
 * What is in the data folder: its names are listed, and what ingest/ has too much is swept out. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "cache/room.h"
#include "cache/store_inside.h"

/* --- walking ---------------------------------------------------------------------------------- */

static bool is_regular(int folder, const struct dirent *entry)
{
    struct stat st;
    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_REG;
    return fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

static int list_algorithm(struct store *s, int algorithm, bool is_any,
                          int (*visit)(const struct digest *d, void *cls), void *cls,
                          struct error *e)
{
    struct slice name = slice_of(store_algorithm_folders[algorithm]);
    autoclosedir DIR *dir = file_list(s->blobs[algorithm], ".");
    if (!dir)
        return error_errno(e, "list %s/blobs/%s", s->path, name.at);
    for (;;) {
        struct digest d;
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            break;
        if (!digest_from_parts(name, slice_of(entry->d_name), &d) ||
            (!is_any && !is_regular(s->blobs[algorithm], entry)))
            continue;
        if (visit(&d, cls) < 0)
            return error_set(e, ERR_STOPPING, "walk of %s/blobs was stopped", s->path);
    }
    return errno ? error_errno(e, "list %s/blobs/%s", s->path, name.at) : 0;
}

static int list(struct store *s, bool is_any, int (*visit)(const struct digest *d, void *cls),
                void *cls, struct error *e)
{
    for (int i = DIGEST_SHA256; i < ALGORITHMS; i++)
        if (list_algorithm(s, i, is_any, visit, cls, e) < 0)
            return -1;
    return 0;
}

int store_list(struct store *s, int (*visit)(const struct digest *d, void *cls), void *cls,
               struct error *e)
{
    return list(s, false, visit, cls, e);
}

int store_list_names(struct store *s, int (*visit)(const struct digest *d, void *cls), void *cls,
                     struct error *e)
{
    return list(s, true, visit, cls, e);
}

struct sized_visit {
    struct store *store;
    int (*visit)(const struct digest *d, uint64_t size_bytes, void *cls);
    void *cls;
};

static int visit_sized(const struct digest *d, void *cls)
{
    const struct sized_visit *v = cls;
    uint64_t size_bytes = 0;
    if (!store_has(v->store, d, &size_bytes)) /* removed meanwhile */
        return 0;
    return v->visit(d, size_bytes, v->cls);
}

int store_walk(struct store *s,
               int (*visit)(const struct digest *d, uint64_t size_bytes, void *cls), void *cls,
               struct error *e)
{
    struct sized_visit v = {.store = s, .visit = visit, .cls = cls};
    return store_list(s, visit_sized, &v, e);
}

/* --- sweeping ingest/ ------------------------------------------------------------------------- */

struct sweep {
    struct store *store;
    int64_t oldest_s; /* what was last changed before is dropped */
    unsigned kept, dropped;
};

/* Takes "<algorithm>-<hex>" with or without ".map" apart. */
static bool parse_partial_name(const char *text, struct digest *d, bool *is_map)
{
    struct slice name = slice_of(text), algorithm, hex;
    *is_map = slice_ends(name, ".map");
    if (*is_map)
        name.length -= strlen(".map");
    return slice_cut(name, '-', &algorithm, &hex) && digest_from_parts(algorithm, hex, d);
}

static bool stat_regular(int folder, const char *name, struct stat *st)
{
    return fstatat(folder, name, st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st->st_mode);
}

static void drop_foreign(struct sweep *w, const char *name, const struct stat *st)
{
    int result = -1;
    if (S_ISDIR(st->st_mode))
        result = unlinkat(w->store->ingest, name, AT_REMOVEDIR);
    else if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode))
        result = unlinkat(w->store->ingest, name, 0);
    if (result == 0)
        w->dropped++;
    else
        log_event(LOG_LEVEL_WARNING, "ingest holds something that is not ours, left alone",
                  LOG_S("folder", w->store->path), LOG_S("name", name), LOG_END);
}

static void sweep_data(struct sweep *w, const struct digest *d, const struct stat *data)
{
    struct stat map;
    char name[NAME_BYTES];
    bool has_map = stat_regular(w->store->ingest, store_partial_name(d, ".map", name), &map);
    /* The map is written after the data it tells of: the later of the two says when it was last
     * worked on. */
    bool is_recent =
        has_map && (data->st_mtim.tv_sec >= w->oldest_s || map.st_mtim.tv_sec >= w->oldest_s);
    if (is_recent && !store_has(w->store, d, NULL)) {
        room_rest(w->store->room, d, 512 * (int64_t)(data->st_blocks + map.st_blocks));
        w->kept++;
        return;
    }
    store_partial_remove(w->store, d);
    w->dropped++;
}

static void sweep_name(struct sweep *w, const char *name)
{
    struct stat st, data;
    struct digest d;
    bool is_map = false;
    char data_name[NAME_BYTES];
    if (fstatat(w->store->ingest, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return; /* a map that went with its data */
    if (!parse_partial_name(name, &d, &is_map) || !S_ISREG(st.st_mode)) {
        drop_foreign(w, name, &st);
    } else if (!is_map) {
        sweep_data(w, &d, &st);
    } else if (!stat_regular(w->store->ingest, store_partial_name(&d, "", data_name), &data)) {
        store_partial_remove_map(w->store, &d);
        w->dropped++;
    }
}

int store_sweep_ingest(struct store *s, int64_t max_age_s, unsigned *kept, unsigned *dropped,
                       struct error *e)
{
    struct sweep w = {.store = s, .oldest_s = clock_wall_s() - max_age_s};
    autoclosedir DIR *dir = file_list(s->ingest, ".");
    if (!dir)
        return error_errno(e, "list %s/ingest", s->path);
    /* Names removed while listing may or may not come again (POSIX); sweep_name takes both. */
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            sweep_name(&w, entry->d_name);
    }
    if (errno)
        return error_errno(e, "list %s/ingest", s->path);
    *kept = w.kept;
    *dropped = w.dropped;
    return 0;
}
