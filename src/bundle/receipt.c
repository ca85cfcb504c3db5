/* SPDX-License-Identifier: Apache-2.0
 * The receipt's text. Of a digest that cannot be checked here it is as if it were not named: a
 * later version may hold more kinds. */
#include "bundle/receipt.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "cache/store.h"

#define TEXT_MAX 255

static int parse(const struct json_t *document, struct receipt *r, struct error *e)
{
    const char *schema = json_get_string(document, "schema");
    const char *site = json_get_string(document, "site");
    const char *created_at = json_get_string(document, "created_at");
    const struct json_t *blobs = json_get_array(document, "blobs");
    if (!schema || strcmp(schema, RECEIPT_SCHEMA) != 0)
        return error_set(e, ERR_CORRUPT, "the schema is not " RECEIPT_SCHEMA ", but %.60s",
                         schema ? schema : "none");
    if (!site || strlen(site) > TEXT_MAX || !created_at || strlen(created_at) > TEXT_MAX || !blobs)
        return error_set(e, ERR_CORRUPT, "site, created_at or blobs is missing");
    for (size_t i = 0; i < json_count(blobs); i++) {
        struct digest d;
        const char *text = json_text(json_item(blobs, i));
        int got = text ? digest_parse(slice_of(text), &d) : -1;
        if (got < 0)
            return error_set(e, ERR_CORRUPT, "this is no digest: %.150s", text ? text : "no text");
        if (got == 1)
            digests_add(&r->blobs, &d, NULL);
    }
    r->site = alloc_string(site);
    r->created_at = alloc_string(created_at);
    return 0;
}

int receipt_parse(const char *bytes, size_t length, struct receipt *out, struct error *e)
{
    struct receipt r = {0};
    autojson struct json_t *document = json_parse(bytes, length, e);
    if (!document || !json_is_object(document))
        return error_set(e, ERR_CORRUPT, "this is no receipt");
    if (parse(document, &r, e) < 0) {
        receipt_fini(&r);
        return error_prefix(e, "this is no receipt");
    }
    digest_of(DIGEST_SHA256, bytes, length, &r.digest);
    *out = r;
    return 0;
}

void receipt_fini(struct receipt *r)
{
    digests_fini(&r->blobs);
    free(r->site);
    free(r->created_at);
    *r = (struct receipt){0};
}

struct print {
    struct str *out;
    const char *before;
};

static int print_one(const struct digest *d, void *cls)
{
    struct print *p = cls;
    char text[DIGEST_TEXT_MAX];
    str_format(p->out, "%s\"%s\"", p->before, digest_print(d, text));
    p->before = ",\n";
    return 0;
}

int receipt_print(struct store *s, const char *site, struct str *out, struct error *e)
{
    char now[24];
    struct print p = {.out = out, .before = "\n"};
    str_add(out, "{\"schema\":\"" RECEIPT_SCHEMA "\",\"site\":");
    str_json(out, slice_of(site));
    str_format(out, ",\"created_at\":\"%s\",\"blobs\":[", clock_format(clock_wall_s(), now));
    if (store_list(s, print_one, &p, e) < 0)
        return -1;
    str_add(out, "]}\n");
    return 0;
}
