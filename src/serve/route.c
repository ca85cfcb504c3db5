/* SPDX-License-Identifier: Apache-2.0
 * An encoded slash never becomes a slash: it is refused where it stands. */
#include "serve/route.h"

#include <string.h>

#include "base/error.h"

enum { PATH_MAX_BYTES = 2048 };

static const char *const kind_names[] = {
    [ROUTE_UNKNOWN] = "unknown",  [ROUTE_BASE] = "base",       [ROUTE_MANIFEST] = "manifest",
    [ROUTE_BLOB] = "blob",        [ROUTE_TAGS] = "tags",       [ROUTE_REFERRERS] = "referrers",
    [ROUTE_CATALOG] = "catalog",  [ROUTE_UPLOAD] = "upload",   [ROUTE_V1_PING] = "v1-ping",
    [ROUTE_V1_SEARCH] = "search", [ROUTE_HEALTHZ] = "healthz", [ROUTE_READYZ] = "readyz",
    [ROUTE_METRICS] = "metrics",  [ROUTE_STATUS] = "status",   [ROUTE_EXPLAIN] = "explain",
    [ROUTE_CONTROL] = "control",
};

const char *route_kind_name(enum route_kind kind)
{
    return kind_names[kind];
}

static struct slice without_authority(struct slice target)
{
    if (!slice_starts(target, "http://") && !slice_starts(target, "https://"))
        return target;
    struct slice rest = slice_sub(target, slice_starts(target, "https://") ? 8 : 7, target.length);
    const char *slash = memchr(rest.at, '/', rest.length);
    return slash ? slice_sub(rest, (size_t)(slash - rest.at), rest.length) : slice_of("/");
}

static bool has_encoded_slash(struct slice s)
{
    for (size_t i = 0; i + 2 < s.length; i++)
        if (s.at[i] == '%' && s.at[i + 1] == '2' && (s.at[i + 2] == 'f' || s.at[i + 2] == 'F'))
            return true;
    return false;
}

static int read_name(struct slice name, struct route *out, struct error *e)
{
    if (!reference_is_repository(name))
        return error_set(e, ERR_NAME_INVALID, "\"%.*s\" is no repository name",
                         (int)(name.length < 100 ? name.length : 100), name.at);
    slice_copy(name, out->name, sizeof out->name);
    return 0;
}

static int read_reference(struct slice reference, bool may_be_tag, struct route *out,
                          struct error *e)
{
    int shown = (int)(reference.length < 150 ? reference.length : 150);
    if (memchr(reference.at, ':', reference.length) || !may_be_tag) {
        out->has_digest = true;
        if (digest_parse(reference, &out->digest) < 0)
            return error_set(e, ERR_DIGEST_INVALID, "\"%.*s\" is no digest", shown, reference.at);
        return 0;
    }
    if (!reference_is_tag(reference))
        return error_set(e, ERR_TAG_INVALID, "\"%.*s\" is no tag", shown, reference.at);
    slice_copy(reference, out->tag, sizeof out->tag);
    return 0;
}

/* name/kind/reference, cut at the last two slashes. */
static int read_object(struct slice path, struct route *out, struct error *e)
{
    struct slice head, reference, name, kind;
    if (!slice_cut_last(path, '/', &head, &reference) || !slice_cut_last(head, '/', &name, &kind))
        return 0;
    if (slice_equals(kind, "tags") && slice_equals(reference, "list"))
        out->kind = ROUTE_TAGS;
    else if (slice_equals(kind, "manifests"))
        out->kind = ROUTE_MANIFEST;
    else if (slice_equals(kind, "blobs"))
        out->kind = slice_equals(reference, "uploads") ? ROUTE_UPLOAD : ROUTE_BLOB;
    else if (slice_equals(kind, "referrers"))
        out->kind = ROUTE_REFERRERS;
    else if (slice_ends(head, "/blobs/uploads"))
        out->kind = ROUTE_UPLOAD;
    else
        return 0;
    if (out->kind == ROUTE_UPLOAD)
        return 0;
    if (read_name(name, out, e) < 0)
        return -1;
    if (out->kind == ROUTE_TAGS)
        return 0;
    return read_reference(reference, out->kind == ROUTE_MANIFEST, out, e);
}

static enum route_kind plain_kind(struct slice path)
{
    static const struct {
        const char *path;
        enum route_kind kind;
    } plain[] = {
        {"/v2", ROUTE_BASE},
        {"/v2/", ROUTE_BASE},
        {"/v2/_catalog", ROUTE_CATALOG},
        {"/v1/_ping", ROUTE_V1_PING},
        {"/v1/search", ROUTE_V1_SEARCH},
        {"/healthz", ROUTE_HEALTHZ},
        {"/readyz", ROUTE_READYZ},
        {"/metrics", ROUTE_METRICS},
        {"/api/status", ROUTE_STATUS},
        {"/api/explain", ROUTE_EXPLAIN},
    };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (slice_equals(path, plain[i].path))
            return plain[i].kind;
    return ROUTE_UNKNOWN;
}

int route_parse(struct slice target, struct route *out, struct error *e)
{
    char decoded[PATH_MAX_BYTES];
    struct slice path = without_authority(target), query;
    memset(out, 0, sizeof *out);
    slice_cut(path, '?', &path, &query);
    if (has_encoded_slash(path) || !str_percent_decode(path, decoded, sizeof decoded)) {
        struct slice head, last;
        bool in_digest = slice_cut_last(path, '/', &head, &last) && has_encoded_slash(last) &&
                         memchr(last.at, ':', last.length);
        return error_set(e, in_digest ? ERR_DIGEST_INVALID : ERR_NAME_INVALID,
                         "the path is too long or badly encoded");
    }
    path = slice_of(decoded);
    out->kind = plain_kind(path);
    if (out->kind != ROUTE_UNKNOWN)
        return 0;
    if (slice_starts(path, "/control/")) {
        if (slice_copy(slice_sub(path, 9, path.length), out->verb, sizeof out->verb))
            out->kind = ROUTE_CONTROL;
        return 0;
    }
    const char *at = strstr(decoded, "/v2/");
    if (!at)
        return 0;
    if (at > decoded && !slice_copy(slice_sub(path, 1, (size_t)(at - decoded) - 1), out->before,
                                    sizeof out->before))
        return 0;
    struct slice rest = slice_of(at + 4);
    if (rest.length == 0 || slice_equals(rest, "_catalog")) {
        out->kind = rest.length == 0 ? ROUTE_BASE : ROUTE_CATALOG;
        return 0;
    }
    if (slice_ends(rest, "/blobs/uploads/")) {
        out->kind = ROUTE_UPLOAD;
        return 0;
    }
    if (read_object(rest, out, e) < 0) {
        out->kind = ROUTE_UNKNOWN;
        return -1;
    }
    return 0;
}
