/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the target of a request: what is taken is valid by grammar, and written out plainly
 * it means the same. */
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "fuzz.h"
#include "oci/digest.h"
#include "serve/route.h"

static const char *const words[] = {
    [ROUTE_MANIFEST] = "manifests", [ROUTE_BLOB] = "blobs", [ROUTE_REFERRERS] = "referrers"};

static bool is_object(const struct route *r)
{
    return r->kind == ROUTE_MANIFEST || r->kind == ROUTE_BLOB || r->kind == ROUTE_REFERRERS;
}

static void check_object(const struct route *r)
{
    must(reference_is_repository(slice_of(r->name)));
    if (r->tag[0])
        must(r->kind == ROUTE_MANIFEST && reference_is_tag(slice_of(r->tag)) && !r->has_digest);
    else
        must(r->has_digest);
}

/* What is percent-encoded once more after having been read is read as it was. */
static void check_again(const struct route *r)
{
    struct error e = {0};
    struct route again;
    char digest[DIGEST_TEXT_MAX];
    autostr struct str target = {0};
    if (r->before[0]) {
        str_add(&target, "/");
        str_percent_encode(&target, slice_of(r->before), "/");
    }
    str_format(&target, "/v2/%s/%s/", r->name, words[r->kind]);
    str_percent_encode(&target, slice_of(r->tag[0] ? r->tag : digest_print(&r->digest, digest)),
                       "");
    must(route_parse(slice_of(str_text(&target)), &again, &e) == 0);
    must(again.kind == r->kind && strcmp(again.name, r->name) == 0);
    must(strcmp(again.before, r->before) == 0 && strcmp(again.tag, r->tag) == 0);
    must(digest_equals(&again.digest, &r->digest));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    struct route r;
    if (route_parse((struct slice){(const char *)data, size}, &r, &e) < 0) {
        must(r.kind == ROUTE_UNKNOWN && e.text[0]);
        must(e.kind == ERR_NAME_INVALID || e.kind == ERR_TAG_INVALID ||
             e.kind == ERR_DIGEST_INVALID);
        return 0;
    }
    must(r.kind < ROUTE_KINDS && route_kind_name(r.kind)[0]);
    if (is_object(&r)) {
        check_object(&r);
        /* a name before it that holds /v2/, or is a path of ours, is read in another place */
        if ((r.tag[0] || r.digest.algorithm) && !strstr(r.before, "v2") &&
            !strstr(r.before, "control") && !memchr(r.before, '%', strlen(r.before)))
            check_again(&r);
    }
    return 0;
}
