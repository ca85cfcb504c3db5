/* SPDX-License-Identifier: Apache-2.0
 * libmicrohttpd clears a connection's whole buffer after each request, so all of it stays resident
 * while the connection is idle; and an end of stream that came together with a request's last bytes
 * is lost on it, for its epoll is edge-triggered and a short read ends its reading. Both are put
 * right while a connection waits for its next request. */
#include "serve/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { IDLE_MS = 1000, PAGE = 4096, NEAR_BUFFER_BYTES = 384 << 10 };

static bool is_near(const struct sockaddr *peer)
{
    const void *at = peer;
    const struct sockaddr_in *v4 = at;
    const struct sockaddr_in6 *v6 = at;
    if (peer->sa_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return peer->sa_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
            (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET));
}

/* The kernel grows a send buffer to megabytes, for paths that are long. A path without length needs
 * none of that: the pages would only leave the cache before the client reads them. */
void connection_fit(int fd, const struct sockaddr *peer)
{
    const int bytes = NEAR_BUFFER_BYTES;
    if (is_near(peer))
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

void connection_init(struct connection *c, int fd, int64_t now_ms, int64_t due_ms)
{
    *c = (struct connection){.fd = fd, .due_ms = due_ms, .idle_since_ms = now_ms};
}

/* The buffer is a mapping of its own, and a request's line stands at its very beginning. Where that
 * does not hold, nothing is known, and nothing given back. */
void connection_begin_request(struct connection *c, const char *method, const char *target)
{
    const char *line = target - strlen(method) - 1;
    c->buffer = (uintptr_t)line % PAGE == 0 ? (char *)(uintptr_t)line : NULL;
    c->due_ms = INT64_MAX;
}

void connection_end_request(struct connection *c, int64_t now_ms, int64_t due_ms)
{
    c->due_ms = due_ms;
    c->idle_since_ms = now_ms;
}

bool connection_is_over_rate(struct connection *c, unsigned most, int64_t now_ms)
{
    int64_t second = now_ms / 1000;
    if (most == 0)
        return false;
    if (c->rate_second != second) {
        c->rate_second = second;
        c->rate_count = 0;
    }
    return ++c->rate_count > most;
}

bool connection_is_late(const struct connection *c, int64_t now_ms)
{
    return c->due_ms < now_ms;
}

bool connection_is_idle(const struct connection *c, int64_t now_ms)
{
    return c->due_ms != INT64_MAX && now_ms - c->idle_since_ms >= IDLE_MS;
}

bool connection_shut(struct connection *c)
{
    if (c->is_shut)
        return false;
    c->is_shut = true;
    shutdown(c->fd, SHUT_RDWR);
    return true;
}

void connection_give_back(const struct connection *c, size_t bytes)
{
    static const char zeros[PAGE];
    char *buffer = c->buffer;
    size_t first = 0, at = 0;
    if (!buffer || sysconf(_SC_PAGESIZE) != PAGE)
        return;
    for (; at + PAGE <= bytes; at += PAGE) {
        if (memcmp(buffer + at, zeros, PAGE) == 0)
            continue;
        if (first < at)
            madvise(buffer + first, at - first, MADV_DONTNEED);
        first = at + PAGE;
    }
    if (first < at)
        madvise(buffer + first, at - first, MADV_DONTNEED);
}

void connection_settle(struct connection *c, int64_t now_ms)
{
    char byte;
    if (connection_is_idle(c, now_ms) && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
        connection_shut(c);
}
