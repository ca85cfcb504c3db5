/* SPDX-License-Identifier: Apache-2.0
 * What only an image named goes right after it, so its size is a sum over what is told next. */
#include "cache/eviction.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "cache/index.h"
#include "cache/room.h"
#include "cache/store.h"

enum { IMAGES_MAX = 10000 };

/* All of the last image has been told of. */
static void end_image(struct eviction *v)
{
    char digest[DIGEST_TEXT_MAX];
    if (!v->image)
        return;
    if (v->image_count++ < IMAGES_MAX) {
        json_write_open(&v->images, NULL, '{');
        json_write_text(&v->images, "image", v->image);
        json_write_text(&v->images, "digest", digest_print(&v->digest, digest));
        json_write_number(&v->images, "size", v->image_bytes);
        json_write_close(&v->images, '}');
    }
    free(v->image);
    v->image = NULL;
    v->image_bytes = 0;
}

static void add_gone(const struct evicted *gone, void *cls)
{
    struct eviction *v = cls;
    v->freed_bytes += (int64_t)gone->size_bytes;
    v->blobs += !gone->is_partial;
    v->partial += gone->is_partial;
    if (!gone->is_part)
        end_image(v);
    if (!gone->is_part && gone->image[0]) {
        v->image = alloc_string(gone->image);
        v->digest = gone->digest;
    }
    v->image_bytes += v->image ? (int64_t)gone->size_bytes : 0;
}

int eviction_init(struct eviction *v, struct slice request, struct error *e)
{
    *v = (struct eviction){.order = {.bytes = -1, .visit = add_gone, .cls = v}};
    autojson struct json_t *r = json_parse(request.at, request.length, e);
    const struct json_t *budget = r ? json_get(r, "budget") : NULL;
    if (!r || !json_is_object(r) || (budget && !json_whole(budget, &v->order.bytes)) ||
        (budget && v->order.bytes < 0))
        return error_set(e, ERR_USAGE, "a budget is a number of bytes: {\"budget\": 1000000}");
    v->order.is_dry = json_get_bool(r, "is_dry_run");
    json_write_open(&v->images, "images", '[');
    return 0;
}

void eviction_report(struct eviction *v, struct str *report)
{
    end_image(v);
    json_write_close(&v->images, ']');
    json_write_open(report, NULL, '{');
    str_add_bytes(report, v->images.text, v->images.length);
    json_write_number(report, "more_images",
                      v->image_count > IMAGES_MAX ? v->image_count - IMAGES_MAX : 0);
    json_write_number(report, "blobs", v->blobs);
    json_write_number(report, "partial", v->partial);
    json_write_number(report, "freed", v->freed_bytes);
    json_write_bool(report, "is_dry_run", v->order.is_dry);
    json_write_close(report, '}');
}

void eviction_fini(struct eviction *v)
{
    str_fini(&v->images);
    free(v->image);
}

static int obey(const struct keep *k, struct eviction *v, struct error *e)
{
    struct evict *hand = evict_new(k->store, k->index);
    int got;
    do
        got = evict_some(hand, &v->order, e);
    while (got > 0);
    evict_free(hand);
    return got;
}

int eviction_here(const struct keep *k, struct slice request, struct str *report, struct error *e)
{
    struct eviction v;
    unsigned kept, dropped;
    int result = eviction_init(&v, request, e);
    room_set_index(store_room(k->store), index_disk_bytes(k->index));
    if (result == 0) /* content on its way in is counted */
        result = store_sweep_ingest(k->store, INT64_MAX, &kept, &dropped, e);
    if (result == 0)
        result = obey(k, &v, e);
    if (result == 0)
        eviction_report(&v, report);
    eviction_fini(&v);
    return result;
}
