/* SPDX-License-Identifier: Apache-2.0
 * Page by page: of the mirror's answers none is larger than it has to be. */
#include "bundle/tags.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "bundle/list.h"
#include "fetch/local.h"
#include "oci/tag_pattern.h"

enum { PAGE = 1000, PAGES_MAX = 1000, PATIENCE_MS = 120 * 1000 };

void tags_fini(struct tags *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->names[i]);
    free(t->names);
    *t = (struct tags){0};
}

static int take_tag(const char *tag, const struct list_item *item, struct tags *out,
                    struct error *e)
{
    out->looked_at++;
    if (!reference_is_tag(slice_of(tag)) || !tag_pattern_matches(slice_of(item->pattern), tag))
        return 0;
    if (out->count == TAGS_FOUND_MAX)
        return error_set(e, ERR_USAGE, "more than %d tags match", TAGS_FOUND_MAX);
    if ((out->count & (out->count - 1)) == 0)
        out->names = alloc_grow(out->names, out->count ? out->count * 2 : 1, sizeof(char *));
    out->names[out->count++] = alloc_string(tag);
    return 0;
}

/* How many tags the page had, and the last of them; 0 of no mirror too, which *is_gone tells; -1.
 */
static int read_page(const char *data, const struct list_item *item, struct str *last,
                     struct tags *out, bool *is_gone, struct error *e)
{
    struct local_answer a = {0};
    autostr struct str path = {0};
    str_format(&path, "/v2/%s/tags/list?n=%d&last=", item->name.repository, PAGE);
    str_percent_encode(&path, slice_of(str_text(last)), "");
    str_add(&path, "&ns=");
    str_percent_encode(&path, slice_of(item->name.registry), "");
    const struct local_request r = {
        .data = data, .path = str_text(&path), .timeout_ms = PATIENCE_MS};
    int got = local_ask(&r, &a, e);
    *is_gone = got == 0;
    if (got == 1 && a.status != 200)
        got = local_problem(&a, e);
    autojson struct json_t *x = got == 1 ? json_parse(str_text(&a.body), a.body.length, e) : NULL;
    str_fini(&a.body);
    if (!x)
        return got == 0 ? 0 : -1;
    const struct json_t *tags = json_get_array(x, "tags");
    size_t count = json_count(tags);
    for (size_t i = 0; i < count; i++)
        if (json_text(json_item(tags, i)) &&
            take_tag(json_text(json_item(tags, i)), item, out, e) < 0)
            return -1;
    if (count > 0 && json_text(json_item(tags, count - 1))) {
        str_clear(last);
        str_add(last, json_text(json_item(tags, count - 1)));
    }
    return (int)count;
}

static int newest_first(const void *a, const void *b)
{
    return tag_compare(*(char *const *)b, *(char *const *)a);
}

int tags_find(const char *data, const struct list_item *item, struct tags *out, struct error *e)
{
    autotags struct tags found = {0};
    autostr struct str last = {0};
    const struct reference *n = &item->name;
    bool is_gone = false;
    int got = PAGE;
    for (int i = 0; i < PAGES_MAX && got == PAGE; i++)
        got = read_page(data, item, &last, &found, &is_gone, e);
    if (got < 0)
        return error_prefix(e, "%s/%s:%s", n->registry, n->repository, item->pattern);
    if (is_gone)
        return 1;
    if (found.count == 0)
        return error_set(e, ERR_NOT_FOUND, "%s/%s:%s: none of %zu tags matches", n->registry,
                         n->repository, item->pattern, found.looked_at);
    qsort(found.names, found.count, sizeof *found.names, newest_first);
    *out = found;
    found = (struct tags){0};
    return 0;
}
