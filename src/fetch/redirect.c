/* SPDX-License-Identifier: Apache-2.0
 * Uses libcurl's URL parser, so that what is checked here is what libcurl will dial. */
#include "fetch/redirect.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"
#include "upstream/upstream.h"

bool redirect_is(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* libcurl takes a scheme it does not know for a path. */
static bool has_other_scheme(const char *location)
{
    size_t n = strcspn(location, "/?#:");
    bool is_http = (n == 4 && strncasecmp(location, "http", 4) == 0) ||
                   (n == 5 && strncasecmp(location, "https", 5) == 0);
    return location[n] == ':' && !is_http;
}

static char *join(const char *url, const char *location)
{
    char *text = NULL, *result = NULL;
    CURLU *u = curl_url();
    if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK)
        result = alloc_string(text);
    curl_free(text);
    curl_url_cleanup(u);
    return result;
}

char *redirect_resolve(const char *url, const char *location, struct error *e)
{
    struct url_origin from, to;
    if (!location[0])
        return error_set(e, ERR_UPSTREAM, "a redirect without an address"), NULL;
    autofree char *next = has_other_scheme(location) ? NULL : join(url, location);
    if (!next || !upstream_url_origin(url, &from) || !upstream_url_origin(next, &to))
        return error_set(e, ERR_UPSTREAM,
                         "a redirect to something that is not http or https is refused"),
               NULL;
    if (strcmp(from.scheme, "https") == 0 && strcmp(to.scheme, "https") != 0)
        return error_set(e, ERR_UPSTREAM, "a redirect from https to http is refused"), NULL;
    return take(next);
}

/* --- pages ------------------------------------------------------------------------------------ */

/* Up to the first `at` that stands in no quotes, which is passed over; all, if there is none. */
static struct slice take_until(struct slice *rest, char at)
{
    size_t i = 0;
    bool is_quoted = false;
    for (; i < rest->length && (is_quoted || rest->at[i] != at); i++) {
        if (rest->at[i] == '"')
            is_quoted = !is_quoted;
        else if (rest->at[i] == '\\' && is_quoted && i + 1 < rest->length)
            i++;
    }
    struct slice head = slice_sub(*rest, 0, i);
    *rest = slice_sub(*rest, i + 1, rest->length);
    return head;
}

/* Does one of the parameters say rel=next, perhaps among others? */
static bool says_next(struct slice parameters)
{
    struct slice name, value;
    while (parameters.length > 0) {
        struct slice one = take_until(&parameters, ';');
        if (!slice_cut(one, '=', &name, &value) || !slice_equals_nocase(slice_trim(name), "rel"))
            continue;
        value = slice_trim(value);
        if (slice_starts(value, "\"") && slice_ends(value, "\"") && value.length > 1)
            value = slice_sub(value, 1, value.length - 2);
        while (value.length > 0)
            if (slice_equals_nocase(take_until(&value, ' '), "next"))
                return true;
    }
    return false;
}

static bool find_next(const char *link, struct slice *target)
{
    struct slice before, rest = slice_of(link);
    while (slice_cut(rest, '<', &before, &rest) && slice_cut(rest, '>', target, &rest))
        if (says_next(take_until(&rest, ',')))
            return true;
    return false;
}

/* What follows scheme, host and port; "" if nothing does. */
static const char *path_of(const char *url)
{
    const char *host = strstr(url, "://");
    return host ? host + 3 + strcspn(host + 3, "/") : "";
}

/* Of a path on the source's host what stands below the source's own prefix. */
static const char *below(const char *prefix, const char *path)
{
    size_t n = strlen(prefix);
    return strncmp(path, prefix, n) == 0 && path[n] == '/' ? path + n : path;
}

char *redirect_next_page(const char *source_url, const char *path, const char *link)
{
    struct slice target;
    struct url_origin ours, theirs;
    if (!find_next(link, &target) || target.length == 0 || memchr(target.at, '#', target.length))
        return NULL;
    autofree char *url = slice_dup(target);
    if (strpbrk(url, " \t"))
        return NULL;
    if (url[0] == '?')
        return alloc_format("%.*s%s", (int)strcspn(path, "?"), path, url);
    const char *there = url;
    if (url[0] != '/') {
        if (!upstream_url_origin(url, &theirs) || !upstream_url_origin(source_url, &ours) ||
            !upstream_same_origin(&ours, &theirs))
            return NULL;
        there = path_of(url);
    }
    return there[0] == '/' && there[1] != '/' ? alloc_string(below(path_of(source_url), there))
                                              : NULL;
}
