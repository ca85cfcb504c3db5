/* SPDX-License-Identifier: Apache-2.0
 * Uses libcurl's URL parser, so that what is checked here is what libcurl will dial. */
#include "fetch/redirect.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
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
