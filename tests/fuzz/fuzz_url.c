/* SPDX-License-Identifier: Apache-2.0
 * Three lines: an address, what it redirects to, a Link header; the first is also a realm and an
 * entry of no_proxy. Whoever dials is libcurl, so its reading and ours of one address must be one:
 * what we check is what is dialled. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>

#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"
#include "fetch/proxy.h"
#include "fetch/redirect.h"
#include "fuzz.h"
#include "upstream/upstream.h"

/* Of an IPv6 address there are several spellings. */
static bool is_same_host(struct slice theirs, const char *ours)
{
    struct in6_addr a, b;
    autofree char *text = slice_dup(theirs);
    if (inet_pton(AF_INET6, text, &a) == 1 && inet_pton(AF_INET6, ours, &b) == 1)
        return memcmp(&a, &b, sizeof a) == 0;
    return slice_equals_nocase(theirs, ours);
}

static void check_part(CURLU *u, CURLUPart part, const char *ours)
{
    char *theirs = NULL;
    if (curl_url_get(u, part, &theirs, CURLU_DEFAULT_PORT) == CURLUE_OK) {
        struct slice s = slice_of(theirs);
        if (slice_starts(s, "[")) /* of an IPv6 address */
            s = slice_sub(s, 1, s.length - 2);
        must(is_same_host(s, ours));
    }
    curl_free(theirs);
}

/* What libcurl takes for an address leads where we think it does. */
static void check_reading(const char *url, const struct url_origin *o)
{
    char port[16];
    CURLU *u = curl_url();
    must(u && o->host[0] && o->port > 0 && o->port <= 65535);
    if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK) {
        snprintf(port, sizeof port, "%u", o->port);
        check_part(u, CURLUPART_SCHEME, o->scheme);
        check_part(u, CURLUPART_HOST, o->host);
        check_part(u, CURLUPART_PORT, port);
    }
    curl_url_cleanup(u);
}

static void check_redirect(const char *url, const char *location)
{
    struct error e = {0};
    struct url_origin from, to;
    autofree char *next = redirect_resolve(url, location, &e);
    if (!next) {
        must(e.kind == ERR_UPSTREAM && e.text[0]);
        return;
    }
    must(upstream_url_origin(url, &from) && upstream_url_origin(next, &to));
    must(strcmp(from.scheme, "https") != 0 || strcmp(to.scheme, "https") == 0);
    check_reading(next, &to);
}

static void check_page(const char *url, const char *link)
{
    struct url_origin ours, theirs;
    autofree char *path = redirect_next_page(url, "/v2/a/tags/list?n=5", link);
    if (!path || !upstream_url_origin(url, &ours))
        return;
    /* appended to its source, it stays there */
    must(path[0] == '/' && !strpbrk(path, "#\r\n"));
    autostr struct str next = {0};
    str_format(&next, "%s://host%s", ours.scheme, path);
    must(upstream_url_origin(str_text(&next), &theirs) && strcmp(theirs.host, "host") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct url_origin o;
    struct source s = {.url = "https://registry-1.docker.io"};
    autofree char *text = slice_dup((struct slice){(const char *)data, size});
    char *save = text, *url = strsep(&save, "\n"), *location = strsep(&save, "\n");
    const char *link = save ? save : "";
    if (upstream_url_origin(url, &o)) {
        check_reading(url, &o);
        upstream_address_range(o.host);
        must(!proxy_is_excepted("", &o) && proxy_is_excepted("*", &o));
        proxy_is_excepted(url, &o);
        if (source_trusts_realm(&s, url))
            must(strcmp(o.scheme, "https") == 0);
    } else {
        must(!source_trusts_realm(&s, url));
    }
    check_redirect(url, location ? location : "");
    if (!strpbrk(link, "\r\n"))
        check_page(url, link);
    return 0;
}
