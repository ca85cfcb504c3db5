/* SPDX-License-Identifier: Apache-2.0
 * The request is a stranger's as far as this goes: every name in it is parsed here. */
#include "cache/keep.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "cache/index.h"
#include "cache/sql.h"
#include "oci/reference.h"

const struct json_t *keep_names(const struct json_t *request, struct error *e)
{
    const struct json_t *names = request ? json_get_array(request, "images") : NULL;
    bool is_well = names != NULL;
    for (size_t i = 0; is_well && i < json_count(names); i++)
        is_well = json_text(json_item(names, i)) != NULL;
    if (!is_well)
        error_set(e, ERR_USAGE, "a command names images: {\"images\": [\"alpine\"]}");
    return is_well ? names : NULL;
}

/* What a pin is on: the digest if there is one, else the tag. */
static const char *name_of(const struct reference *image, char text[DIGEST_TEXT_MAX])
{
    return image->digest.algorithm ? digest_print(&image->digest, text) : image->tag;
}

/* 1: what that name means is here. */
static int is_held(const struct keep *k, const struct reference *image, struct error *e)
{
    struct digest d = image->digest;
    if (!d.algorithm) {
        autoquery struct query q = query_start(index_writer(k->index), SQL_FIND_TAG);
        query_text(&q, image->registry);
        query_text(&q, image->repository);
        query_text(&q, image->tag);
        int got = query_step(&q, e);
        if (got < 1 || query_get_digest(&q, 0, &d, e) < 0)
            return got < 1 ? got : -1;
    }
    autoquery struct query q = query_start(index_writer(k->index), SQL_FIND_BLOB);
    query_digest(&q, &d);
    return query_step(&q, e);
}

/* 1: that was news; 0: it was so already. */
typedef int (*change)(const struct keep *k, const struct reference *image, struct error *e);

static int pin(const struct keep *k, const struct reference *image, struct error *e)
{
    char text[DIGEST_TEXT_MAX];
    return index_put_pin(k->index, image->registry, image->repository, name_of(image, text),
                         clock_wall_s(), e);
}

static int unpin(const struct keep *k, const struct reference *image, struct error *e)
{
    char text[DIGEST_TEXT_MAX];
    int got =
        index_remove_pin(k->index, image->registry, image->repository, name_of(image, text), e);
    if (got == 0)
        return error_set(e, ERR_NOT_FOUND, "%s/%s%s%s is not pinned", image->registry,
                         image->repository, image->digest.algorithm ? "@" : ":",
                         name_of(image, text));
    return got;
}

static int change_one(const struct keep *k, const char *name, change does, struct str *report,
                      struct error *e)
{
    struct reference image;
    autostr struct str full = {0};
    if (reference_parse(slice_of(name), &image, e) < 0)
        return -1;
    int changed = does(k, &image, e);
    int held = changed < 0 ? -1 : is_held(k, &image, e);
    if (held < 0)
        return -1;
    reference_print(&image, &full);
    json_write_open(report, NULL, '{');
    json_write_text(report, "image", str_text(&full));
    json_write_bool(report, "is_changed", changed == 1);
    json_write_bool(report, "is_held", held == 1);
    json_write_close(report, '}');
    return 0;
}

static int change_all(const struct keep *k, const struct json_t *names, change does,
                      struct str *report, struct error *e)
{
    if (index_begin(k->index, e) < 0)
        return -1;
    int result = 0;
    for (size_t i = 0; result == 0 && i < json_count(names); i++)
        result = change_one(k, json_text(json_item(names, i)), does, report, e);
    if (result == 0)
        result = index_commit(k->index, e);
    if (result < 0)
        index_rollback(k->index);
    return result;
}

static int run(const struct keep *k, struct slice request, change does, struct str *report,
               struct error *e)
{
    autojson struct json_t *r = json_parse(request.at, request.length, e);
    const struct json_t *names = keep_names(r, e);
    if (!names)
        return -1;
    json_write_open(report, NULL, '{');
    json_write_open(report, "images", '[');
    if (change_all(k, names, does, report, e) < 0)
        return -1;
    json_write_close(report, ']');
    json_write_close(report, '}');
    return 0;
}

int keep_pin(const struct keep *k, struct slice request, struct str *report, struct error *e)
{
    return run(k, request, pin, report, e);
}

int keep_unpin(const struct keep *k, struct slice request, struct str *report, struct error *e)
{
    return run(k, request, unpin, report, e);
}
