/* SPDX-License-Identifier: Apache-2.0
 * From an address in words to a socket. */
#include "serve/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"

enum { BACKLOG = 1024 };

static int look_up(const char *text, struct listen_address *out, struct error *e)
{
    char host[256], port[16];
    struct slice head, tail;
    uint64_t number;
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    if (!slice_cut_last(slice_of(text), ':', &head, &tail) || tail.length == 0 ||
        !slice_copy(tail, port, sizeof port))
        return error_set(e, ERR_USAGE, "listen address \"%s\" is not ADDRESS:PORT", text);
    if (!slice_u64(tail, 65535, &number))
        return error_set(e, ERR_USAGE, "listen address \"%s\": the port is a number up to 65535",
                         text);
    if (slice_starts(head, "[") && slice_ends(head, "]"))
        head = slice_sub(head, 1, head.length - 2);
    if (!slice_copy(head, host, sizeof host))
        return error_set(e, ERR_USAGE, "listen address \"%s\" is too long", text);
    struct addrinfo *found;
    int failed = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (failed)
        return error_set(e, ERR_USAGE, "listen address \"%s\": %s", text, gai_strerror(failed));
    *out = (struct listen_address){.length_bytes = found->ai_addrlen, .text = text};
    memcpy(&out->at, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

/* May others of this process share the port? */
static int bind_socket(const struct listen_address *a, bool is_shared, struct error *e)
{
    int one = 1;
    autoclose int fd = socket(a->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(e, "listen on %s", a->text);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->at.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (is_shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0)
        return error_errno(e, "share %s between threads", a->text);
    if (bind(fd, (const struct sockaddr *)&a->at, a->length_bytes) < 0 || listen(fd, BACKLOG) < 0)
        return error_errno(e, "listen on %s", a->text);
    return take_fd(fd);
}

int listen_resolve(const char *text, struct listen_address *out, struct error *e)
{
    struct listen_address found = {0};
    if (look_up(text, &found, e) < 0)
        return -1;
    /* SO_REUSEPORT would let a second server share a port in silence: a plain bind first finds it
     * taken. */
    autoclose int fd = bind_socket(&found, false, e);
    if (fd < 0)
        return -1;
    *out = found;
    return 0;
}

int listen_open(struct listen_address *a, struct error *e)
{
    autoclose int fd = bind_socket(a, true, e);
    if (fd < 0)
        return -1;
    socklen_t length = sizeof a->at;
    if (getsockname(fd, (struct sockaddr *)&a->at, &length) < 0)
        return error_errno(e, "listen on %s", a->text);
    return take_fd(fd);
}

/* Through the folder's descriptor: an address holds 107 bytes, and a path may be longer. */
int listen_open_local(int folder, const char *name, struct error *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/%s", folder, name);
    autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (unlinkat(folder, name, 0) < 0 && errno != ENOENT))
        return error_errno(e, "listen on %s", name);
    /* Nobody can connect before it listens, and by then its mode is right. */
    if (bind(fd, (const struct sockaddr *)&at, sizeof at) < 0 ||
        fchmodat(folder, name, S_IRUSR | S_IWUSR, 0) < 0 || listen(fd, BACKLOG) < 0)
        return error_errno(e, "listen on %s", name);
    return take_fd(fd);
}

bool listen_is_loopback(const struct listen_address *a)
{
    const void *at = &a->at;
    if (a->at.ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)at)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)at)->sin6_addr;
    return a->at.ss_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(six) ||
            (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == IN_LOOPBACKNET));
}

char *listen_print(const struct listen_address *a)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getnameinfo((const struct sockaddr *)&a->at, a->length_bytes, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return alloc_string(a->text);
    return a->at.ss_family == AF_INET6 ? alloc_format("[%s]:%s", host, port)
                                       : alloc_format("%s:%s", host, port);
}
