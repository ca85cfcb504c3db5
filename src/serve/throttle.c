/* SPDX-License-Identifier: Apache-2.0
 * Suspects are few and looked for only around a hash that costs milliseconds: a row will do. */
#include "serve/throttle.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

struct throttle_network throttle_network_of(const struct sockaddr *address)
{
    enum { V6_PREFIX_BYTES = 8 };
    struct throttle_network n = {{0}};
    const void *at = address;
    if (address->sa_family == AF_INET) {
        n.bytes[10] = n.bytes[11] = 0xFF;
        memcpy(n.bytes + 12, &((const struct sockaddr_in *)at)->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)at)->sin6_addr;
        memcpy(n.bytes, six, IN6_IS_ADDR_V4MAPPED(six) ? sizeof n.bytes : V6_PREFIX_BYTES);
    }
    return n;
}

static struct throttle_suspect *find(struct throttle *t, const struct throttle_network *n,
                                     int64_t now_ms)
{
    for (size_t i = 0; i < THROTTLE_SUSPECTS; i++) {
        struct throttle_suspect *s = &t->suspects[i];
        if (s->failures == 0 || memcmp(&s->network, n, sizeof *n) != 0)
            continue;
        if (now_ms - s->failed_at_ms < THROTTLE_FORGET_MS)
            return s;
        s->failures = 0;
    }
    return NULL;
}

static int64_t delay_ms(const struct throttle_suspect *s)
{
    unsigned over = s->failures - THROTTLE_FREE_FAILURES;
    int64_t ms = THROTTLE_FIRST_MS;
    while (over-- > 0 && ms < THROTTLE_MOST_MS)
        ms *= 2;
    return ms < THROTTLE_MOST_MS ? ms : THROTTLE_MOST_MS;
}

int64_t throttle_take_turn(struct throttle *t, const struct throttle_network *n, int64_t now_ms)
{
    struct throttle_suspect *s = find(t, n, now_ms);
    if (!s || s->failures < THROTTLE_FREE_FAILURES)
        return now_ms;
    int64_t at_ms = s->free_at_ms > now_ms ? s->free_at_ms : now_ms;
    if (at_ms - now_ms > THROTTLE_PATIENCE_MS)
        return -1;
    s->free_at_ms = at_ms + delay_ms(s);
    return at_ms;
}

int64_t throttle_take_check(struct throttle *t, int64_t now_ms)
{
    if (t->second != now_ms / 1000) {
        t->second = now_ms / 1000;
        t->checks = 0;
    }
    if (t->checks >= THROTTLE_CHECKS_A_SECOND)
        return (t->second + 1) * 1000;
    t->checks++;
    return now_ms;
}

/* An empty place, or that of whoever has been quiet the longest. */
static struct throttle_suspect *make_room(struct throttle *t)
{
    struct throttle_suspect *quiet = &t->suspects[0];
    for (size_t i = 0; i < THROTTLE_SUSPECTS && quiet->failures > 0; i++)
        if (t->suspects[i].failures == 0 || t->suspects[i].failed_at_ms < quiet->failed_at_ms)
            quiet = &t->suspects[i];
    return quiet;
}

void throttle_fail(struct throttle *t, const struct throttle_network *n, int64_t now_ms)
{
    struct throttle_suspect *s = find(t, n, now_ms);
    if (!s) {
        s = make_room(t);
        *s = (struct throttle_suspect){.network = *n};
    }
    s->failures++;
    s->failed_at_ms = now_ms;
    if (s->failures >= THROTTLE_FREE_FAILURES && s->free_at_ms < now_ms + delay_ms(s))
        s->free_at_ms = now_ms + delay_ms(s);
}
