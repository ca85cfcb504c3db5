/* SPDX-License-Identifier: Apache-2.0
 * Follows an upstream's pages to the end; its cursors stay between it and us. */
#include "fetch/listing.h"

#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "fetch/fetcher.h"
#include "fetch/race.h"
#include "fetch/redirect.h"
#include "fetch/transfer.h"
#include "upstream/upstream.h"

enum { PAGE_MAX_BYTES = 4 << 20, ALL_MAX_BYTES = 16 << 20, MAX_PAGES = 500 };

struct listing {
    struct fetcher *fetcher;
    struct upstream *upstream;
    struct source *source; /* whose pages these are; NULL: before the first */
    char *repository, *path, *key;
    bool can_do_without;
    void (*done)(void *cls, const char *items, bool is_confirmed, const struct error *why);
    void *cls;
    struct timer begin;
    struct json_t *page; /* the one that was taken last */
    struct str items;
    unsigned pages;
};

static void end(struct listing *l, const struct error *why)
{
    l->done(l->cls, why ? NULL : str_text(&l->items), l->source == upstream_origin(l->upstream),
            why);
    if (l->page)
        json_free(l->page);
    str_fini(&l->items);
    free(l->repository);
    free(l->path);
    free(l->key);
    free(l);
}

static int judge(void *cls, const struct source *s, const struct head *head, const struct str *body,
                 struct error *e)
{
    struct listing *l = cls;
    autojson struct json_t *page = json_parse(str_text(body), body->length, e);
    (void)head;
    if (!page || !json_is_object(page))
        return error_set(e, ERR_UPSTREAM, "%s%s is no JSON object", s->url, l->path);
    if (l->page)
        json_free(l->page);
    l->page = take(page);
    return 0;
}

static int add_items(struct listing *l, struct error *e)
{
    const struct json_t *array = json_get_array(l->page, l->key);
    for (size_t i = 0; array && i < json_count(array); i++) {
        if (l->items.length > 0)
            str_add_char(&l->items, ',');
        json_print(json_item(array, i), &l->items);
        if (l->items.length > ALL_MAX_BYTES)
            return error_set(e, ERR_UPSTREAM, "%s%s lists more than %d bytes", l->source->url,
                             l->path, ALL_MAX_BYTES);
    }
    return 0;
}

static void answered(void *cls, struct source *source, const struct head *head,
                     const struct str *body, const struct error *why)
{
    struct listing *l = cls;
    struct error e = {0};
    (void)body;
    if (why)
        e = *why;
    else
        l->source = source;
    if (why || add_items(l, &e) < 0) {
        end(l, &e);
        return;
    }
    char *path = redirect_next_page(source->url, l->path, head->link);
    if (!path || strcmp(path, l->path) == 0) {
        free(path);
        end(l, NULL);
        return;
    }
    free(l->path);
    l->path = path;
    if (++l->pages >= MAX_PAGES) {
        error_set(&e, ERR_UPSTREAM, "%s lists more than %d pages", l->source->url, MAX_PAGES);
        end(l, &e);
        return;
    }
    fetcher_set_timer(l->fetcher, &l->begin, 0);
}

static void begin(struct timer *t)
{
    struct listing *l = (struct listing *)((char *)t - offsetof(struct listing, begin));
    const struct race_request r = {
        .upstream = l->upstream,
        .order = l->can_do_without ? RACE_ORIGIN_ONLY : RACE_ORIGIN_FIRST,
        .only = l->source,
        .can_do_without = l->can_do_without,
        .repository = l->repository,
        .path = l->path,
        .accept = "application/json, application/vnd.oci.image.index.v1+json",
        .body_max = PAGE_MAX_BYTES,
        .noun = "page",
        .judge = judge,
        .on_done = answered,
        .cls = l};
    race_start(l->fetcher, &r);
}

void listing_pull(struct fetcher *f, const struct listing_request *q,
                  void (*done)(void *cls, const char *items, bool is_confirmed,
                               const struct error *why),
                  void *cls)
{
    struct listing *l = alloc_zero(sizeof *l);
    *l = (struct listing){.fetcher = f,
                          .upstream = q->upstream,
                          .repository = alloc_string(q->repository),
                          .path = alloc_string(q->path),
                          .key = alloc_string(q->key),
                          .can_do_without = q->can_do_without,
                          .done = done,
                          .cls = cls,
                          .begin.run = begin};
    begin(&l->begin);
}
