/* SPDX-License-Identifier: Apache-2.0
 * Follows an upstream's pages to the end; its cursors stay between it and us. */
#include "fetch/listing.h"

#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "fetch/exchange.h"
#include "fetch/fetcher.h"
#include "upstream/upstream.h"

enum { PAGE_MAX_BYTES = 4 << 20, ALL_MAX_BYTES = 16 << 20, MAX_PAGES = 500 };

struct listing {
    struct fetcher *fetcher;
    struct upstream *upstream;
    char *repository, *path, *key;
    void (*done)(void *cls, const char *items, const struct error *why);
    void *cls;
    struct timer begin;
    struct str body, items;
    unsigned pages;
};

static void end(struct listing *l, const struct error *why)
{
    l->done(l->cls, why ? NULL : str_text(&l->items), why);
    str_fini(&l->body);
    str_fini(&l->items);
    free(l->repository);
    free(l->path);
    free(l->key);
    free(l);
}

static int body(void *cls, const void *bytes, size_t length, struct error *e)
{
    struct listing *l = cls;
    if (l->body.length + length > PAGE_MAX_BYTES)
        return error_set(e, ERR_UPSTREAM, "%s sent a page of more than %d bytes",
                         upstream_origin(l->upstream)->url, PAGE_MAX_BYTES);
    str_add_bytes(&l->body, bytes, length);
    return 0;
}

static int add_items(struct listing *l, struct error *e)
{
    autojson struct json_t *page = json_parse(str_text(&l->body), l->body.length, e);
    if (!page || !json_is_object(page))
        return error_set(e, ERR_UPSTREAM, "%s%s is no JSON object",
                         upstream_origin(l->upstream)->url, l->path);
    const struct json_t *array = json_get_array(page, l->key);
    for (size_t i = 0; array && i < json_count(array); i++) {
        if (l->items.length > 0)
            str_add_char(&l->items, ',');
        json_print(json_item(array, i), &l->items);
        if (l->items.length > ALL_MAX_BYTES)
            return error_set(e, ERR_UPSTREAM, "%s%s lists more than %d bytes",
                             upstream_origin(l->upstream)->url, l->path, ALL_MAX_BYTES);
    }
    return 0;
}

/* The path of `<…>; rel="next"`, if it stays on the upstream. Owned by the caller. */
static char *next_path(const struct listing *l, const char *link)
{
    struct slice before, target, rest;
    struct url_origin ours, theirs;
    if (!slice_cut(slice_of(link), '<', &before, &rest) || !slice_cut(rest, '>', &target, &rest) ||
        !strstr(link, "next"))
        return NULL;
    autofree char *url = slice_dup(target);
    if (url[0] == '/')
        return take(url);
    if (!upstream_url_origin(url, &theirs)) {
        /* Relative to the page: only a query can be meant. */
        struct slice path = slice_of(l->path), tail;
        slice_cut(path, '?', &path, &tail);
        return url[0] == '?' ? alloc_format("%.*s%s", (int)path.length, path.at, url) : NULL;
    }
    if (!upstream_url_origin(upstream_origin(l->upstream)->url, &ours) ||
        !upstream_same_origin(&ours, &theirs))
        return NULL;
    const char *path = strchr(strstr(url, "://") + 3, '/');
    return path ? alloc_string(path) : NULL;
}

static void answered(void *cls, const struct head *head, const struct error *why)
{
    struct listing *l = cls;
    struct error e = {0};
    if (why)
        e = *why;
    if (why || add_items(l, &e) < 0) {
        end(l, &e);
        return;
    }
    char *path = next_path(l, head->link);
    if (!path || strcmp(path, l->path) == 0) {
        free(path);
        end(l, NULL);
        return;
    }
    free(l->path);
    l->path = path;
    if (++l->pages >= MAX_PAGES) {
        error_set(&e, ERR_UPSTREAM, "%s lists more than %d pages",
                  upstream_origin(l->upstream)->url, MAX_PAGES);
        end(l, &e);
        return;
    }
    str_clear(&l->body);
    fetcher_set_timer(l->fetcher, &l->begin, 0);
}

static void begin(struct timer *t)
{
    struct listing *l = (struct listing *)((char *)t - offsetof(struct listing, begin));
    struct error e;
    struct exchange_request r = {.source = upstream_origin(l->upstream),
                                 .repository = l->repository,
                                 .path = l->path,
                                 .accept =
                                     "application/json, application/vnd.oci.image.index.v1+json",
                                 .on_body = body,
                                 .on_done = answered,
                                 .cls = l};
    if (!exchange_start(l->fetcher, &r, &e))
        end(l, &e);
}

void listing_pull(struct fetcher *f, struct upstream *u, const char *repository, const char *path,
                  const char *key,
                  void (*done)(void *cls, const char *items, const struct error *why), void *cls)
{
    struct listing *l = alloc_zero(sizeof *l);
    *l = (struct listing){.fetcher = f,
                          .upstream = u,
                          .repository = alloc_string(repository),
                          .path = alloc_string(path),
                          .key = alloc_string(key),
                          .done = done,
                          .cls = cls,
                          .begin.run = begin};
    fetcher_set_timer(f, &l->begin, 0);
}
