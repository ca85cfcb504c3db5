/* SPDX-License-Identifier: Apache-2.0
 * The environment's proxy variables, as libcurl and Go read them. */
#include "fetch/proxy.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "upstream/upstream.h"

struct address {
    unsigned char bytes[16];
    unsigned length; /* 4 or 16 */
};

static bool read_address(const char *text, struct address *a)
{
    a->length = inet_pton(AF_INET, text, a->bytes) == 1    ? 4
                : inet_pton(AF_INET6, text, a->bytes) == 1 ? 16
                                                           : 0;
    return a->length > 0;
}

static bool is_within(const struct address *a, const struct address *net, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (a->length != net->length || bits > a->length * 8 ||
        memcmp(a->bytes, net->bytes, whole) != 0)
        return false;
    return rest == 0 || (a->bytes[whole] ^ net->bytes[whole]) >> (8 - rest) == 0;
}

/* Parts "host:port" and "[address]:port"; a bare IPv6 address has no port. */
static void part_port(struct slice *host, struct slice *port)
{
    struct slice head, tail, more;
    if (slice_starts(*host, "[") && slice_cut(*host, ']', &head, &tail)) {
        *host = slice_sub(head, 1, head.length);
        *port = slice_starts(tail, ":") ? slice_sub(tail, 1, tail.length) : tail;
    } else if (slice_cut(*host, ':', &head, &tail) && !slice_cut(tail, ':', &more, &more)) {
        *host = head;
        *port = tail;
    }
}

static bool names(struct slice entry, const struct url_origin *o)
{
    struct slice host = entry, port = {0}, range = {0};
    struct address ours, net;
    char text[256];
    uint64_t number = 0;
    if (slice_equals(entry, "*"))
        return true;
    part_port(&host, &port);
    if (port.length > 0 && (!slice_u64(port, 65535, &number) || number != o->port))
        return false;
    bool is_range = slice_cut(host, '/', &host, &range);
    if (slice_starts(host, "*."))
        host = slice_sub(host, 1, host.length);
    if (slice_starts(host, "."))
        host = slice_sub(host, 1, host.length);
    if (host.length == 0 || !slice_copy(host, text, sizeof text))
        return false;
    if (read_address(text, &net)) {
        number = net.length * 8;
        return (!is_range || slice_u64(range, 128, &number)) && read_address(o->host, &ours) &&
               is_within(&ours, &net, (unsigned)number);
    }
    size_t all = strlen(o->host);
    if (is_range || all < host.length || strcasecmp(o->host + all - host.length, text) != 0)
        return false;
    return all == host.length || o->host[all - host.length - 1] == '.';
}

bool proxy_is_excepted(const char *list, const struct url_origin *o)
{
    while (*list) {
        size_t n = strcspn(list, ", \t");
        if (n > 0 && names((struct slice){list, n}, o))
            return true;
        list += n + (list[n] != 0);
    }
    return false;
}

static const char *variable(const char *lower, const char *upper)
{
    const char *value = getenv(lower);
    if (!value || !value[0])
        value = getenv(upper);
    return value && value[0] ? value : NULL;
}

const char *proxy_for(const struct url_origin *o)
{
    const char *proxy = strcmp(o->scheme, "https") == 0 ? variable("https_proxy", "HTTPS_PROXY")
                                                        : variable("http_proxy", "HTTP_PROXY");
    const char *none = variable("no_proxy", "NO_PROXY");
    if (!proxy)
        proxy = variable("all_proxy", "ALL_PROXY");
    return proxy && !(none && proxy_is_excepted(none, o)) ? proxy : NULL;
}
