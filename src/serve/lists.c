/* SPDX-License-Identifier: Apache-2.0
 * Tags, referrers, the catalog and the old search: sorted, filtered and paged here, whatever way
 * the upstream pages. n never sizes an allocation (CVE-2023-2253). */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "cache/index.h"
#include "serve/reply.h"
#include "serve/request.h"
#include "upstream/upstream.h"

enum { MAX_N = 10000, DEFAULT_CATALOG_N = 100, SEARCH_SCAN = 100000 };

struct page {
    uint64_t n;
    bool has_n;
    char last[512];
};

static int read_page(const struct request *r, struct page *p, struct error *e)
{
    char n[32];
    memset(p, 0, sizeof *p);
    request_argument_decoded(r, "last", p->last, sizeof p->last);
    if (!request_argument(r, "n"))
        return 0;
    if (!request_argument_decoded(r, "n", n, sizeof n) ||
        !slice_u64(slice_of(n), UINT64_MAX, &p->n))
        return error_set(e, ERR_PAGE_INVALID, "n must be a number from 0 up");
    p->has_n = true;
    if (p->n > MAX_N)
        p->n = MAX_N;
    return 0;
}

static char *next_link(const struct request *r, const char *path, uint64_t n, const char *last)
{
    autostr struct str link = {0};
    str_add(&link, "<");
    if (r->route.before[0])
        str_format(&link, "/%s", r->route.before);
    str_add(&link, path);
    str_add(&link, "?last=");
    str_percent_encode(&link, slice_of(last), "");
    str_format(&link, "&n=%llu", (unsigned long long)n);
    if (r->ns[0]) {
        str_add(&link, "&ns=");
        str_percent_encode(&link, slice_of(r->ns), "");
    }
    str_add(&link, ">; rel=\"next\"");
    return str_take(&link);
}

/* --- tags ------------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static struct json_t *parse_items(const char *items, struct error *e)
{
    autofree char *text = alloc_format("{\"items\":[%s]}", items);
    return json_parse(text, strlen(text), e);
}

static enum MHD_Result reply_tags(struct request *r)
{
    struct error e = {0};
    struct page p;
    if (read_page(r, &p, &e) < 0)
        return reply_error(r, &e);
    autojson struct json_t *all = parse_items(r->answer->items, &e);
    if (!all)
        return reply_error(r, &e);
    const struct json_t *array = json_get_array(all, "items");
    size_t count = 0, room = json_count(array);
    autofree const char **tags = alloc_array(room + 1, sizeof *tags);
    for (size_t i = 0; i < room; i++)
        if (json_text(json_item(array, i)))
            tags[count++] = json_text(json_item(array, i));
    qsort(tags, count, sizeof *tags, by_bytes);
    autostr struct str body = {0};
    autofree char *link = NULL;
    uint64_t shown = 0, limit = p.has_n ? p.n : MAX_N;
    const char *last = NULL;
    str_add(&body, "{\"name\":");
    str_json(&body, slice_of(r->route.name));
    str_add(&body, ",\"tags\":[");
    for (size_t i = 0; i < count && limit > 0; i++) {
        if (strcmp(tags[i], p.last) <= 0 || (last && strcmp(tags[i], last) == 0))
            continue;
        if (shown == limit) {
            autofree char *path = alloc_format("/v2/%s/tags/list", r->route.name);
            link = next_link(r, path, limit, last);
            break;
        }
        if (shown++ > 0)
            str_add_char(&body, ',');
        str_json(&body, slice_of(tags[i]));
        last = tags[i];
    }
    str_add(&body, "]}");
    return reply_listing(r, r->answer, "application/json", link, false, &body);
}

/* --- referrers -------------------------------------------------------------------------------- */

struct wanted {
    const char *types[16];
    char decoded[16][256];
    size_t count;
};

static enum MHD_Result add_wanted(void *cls, enum MHD_ValueKind kind, const char *key,
                                  const char *value)
{
    struct wanted *w = cls;
    (void)kind;
    if (strcmp(key, "artifactType") == 0 && value && w->count < 16 &&
        str_percent_decode(slice_of(value), w->decoded[w->count], sizeof w->decoded[0])) {
        w->types[w->count] = w->decoded[w->count];
        w->count++;
    }
    return MHD_YES;
}

static bool is_wanted(const struct wanted *w, const char *type)
{
    for (size_t i = 0; i < w->count; i++)
        if (type && strcmp(type, w->types[i]) == 0)
            return true;
    return w->count == 0;
}

static enum MHD_Result reply_referrers(struct request *r)
{
    struct error e = {0};
    struct wanted wanted = {0};
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, add_wanted, &wanted);
    autojson struct json_t *all = parse_items(r->answer->items, &e);
    if (!all)
        return reply_error(r, &e);
    const struct json_t *array = json_get_array(all, "items");
    autostr struct str body = {0};
    bool is_first = true;
    str_add(&body, "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_INDEX "\",\"manifests\":[");
    for (size_t i = 0; i < json_count(array); i++) {
        const struct json_t *descriptor = json_item(array, i);
        if (!is_wanted(&wanted, json_get_string(descriptor, "artifactType")))
            continue;
        if (!is_first)
            str_add_char(&body, ',');
        is_first = false;
        json_print(descriptor, &body);
    }
    str_add(&body, "]}");
    return reply_listing(r, r->answer, MEDIA_OCI_INDEX, NULL, wanted.count > 0, &body);
}

/* --- what is held ----------------------------------------------------------------------------- */

struct names {
    struct str body;
    uint64_t shown, limit;
    bool has_more;
    const char *default_registry, *term;
    bool is_search;
    char last[512];
};

static bool add_name(const char *registry, const char *name, void *cls)
{
    struct names *n = cls;
    bool is_default = strcmp(registry, n->default_registry) == 0;
    autofree char *full = is_default ? alloc_string(name) : alloc_format("%s/%s", registry, name);
    if (n->is_search && !strstr(full, n->term))
        return true;
    if (n->shown == n->limit) {
        n->has_more = true;
        return false;
    }
    if (n->shown++ > 0)
        str_add_char(&n->body, ',');
    if (n->is_search)
        str_add(&n->body, "{\"name\":");
    str_json(&n->body, slice_of(full));
    if (n->is_search)
        str_format(
            &n->body,
            ",\"description\":\"\",\"star_count\":0,\"is_official\":%s,\"is_automated\":false}",
            is_default && strncmp(name, "library/", 8) == 0 ? "true" : "false");
    slice_copy(slice_of(full), n->last, sizeof n->last);
    return true;
}

/* `last` is a name as this catalog spells it. */
static void split_last(const struct request *r, const char *last, char registry[256],
                       char name[512])
{
    struct slice first, rest;
    const struct upstream *u = upstreams_default(r->desk->upstreams);
    slice_copy(slice_of(last[0] ? u->registry : ""), registry, 256);
    slice_copy(slice_of(last), name, 512);
    if (slice_cut(slice_of(last), '/', &first, &rest) &&
        (u = upstreams_find(r->desk->upstreams, first))) {
        slice_copy(slice_of(u->registry), registry, 256);
        slice_copy(rest, name, 512);
    }
}

static enum MHD_Result reply_catalog(struct request *r)
{
    struct error e = {0};
    struct page p;
    char registry[256], name[512];
    if (read_page(r, &p, &e) < 0)
        return reply_error(r, &e);
    struct names n = {.limit = p.has_n ? p.n : DEFAULT_CATALOG_N,
                      .default_registry = upstreams_default(r->desk->upstreams)->registry};
    split_last(r, p.last, registry, name);
    str_add(&n.body, "{\"repositories\":[");
    if (n.limit > 0 && index_each_repository(r->desk->reader, registry, name, (size_t)n.limit + 1,
                                             add_name, &n, &e) < 0) {
        str_fini(&n.body);
        return reply_error(r, &e);
    }
    str_add(&n.body, "]}");
    autofree char *link = n.has_more ? next_link(r, "/v2/_catalog", n.limit, n.last) : NULL;
    return reply_listing(r, NULL, "application/json", link, false, &n.body);
}

static enum MHD_Result reply_search(struct request *r)
{
    struct error e = {0};
    char term[256] = "", count[32];
    struct names n = {.limit = 25,
                      .is_search = true,
                      .term = term,
                      .default_registry = upstreams_default(r->desk->upstreams)->registry};
    request_argument_decoded(r, "q", term, sizeof term);
    if (request_argument_decoded(r, "n", count, sizeof count) &&
        slice_u64(slice_of(count), UINT64_MAX, &n.limit))
        n.limit = n.limit < 1 ? 1 : n.limit > 100 ? 100 : n.limit;
    if (index_each_repository(r->desk->reader, "", "", SEARCH_SCAN, add_name, &n, &e) < 0) {
        str_fini(&n.body);
        return reply_error(r, &e);
    }
    autostr struct str body = {0};
    str_add(&body, "{\"query\":");
    str_json(&body, slice_of(term));
    str_format(&body, ",\"num_results\":%llu,\"results\":[%s]}", (unsigned long long)n.shown,
               str_text(&n.body));
    str_fini(&n.body);
    return reply_listing(r, NULL, "application/json", NULL, false, &body);
}

enum MHD_Result lists_handle(struct request *r)
{
    switch (r->route.kind) {
    case ROUTE_TAGS:
        return reply_tags(r);
    case ROUTE_REFERRERS:
        return reply_referrers(r);
    case ROUTE_CATALOG:
        return reply_catalog(r);
    default:
        return reply_search(r);
    }
}
