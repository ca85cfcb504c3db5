/* SPDX-License-Identifier: Apache-2.0
 * When a password may be checked. A network that brought several wrong ones waits before each
 * further one, longer each time; nobody else waits for it; and all together get so many checks a
 * second, for they cost time by design. Pure: monotonic milliseconds are passed in. Belongs to one
 * thread. Inside of serve/. */
#ifndef SERVE_THROTTLE_H
#define SERVE_THROTTLE_H

#include <stdint.h>
#include <sys/socket.h>

enum {
    THROTTLE_FREE_FAILURES = 5, /* typing errors, a script with an old password */
    THROTTLE_FIRST_MS = 1000,   /* after the last of them; doubles with each further one */
    THROTTLE_MOST_MS = 30000,
    THROTTLE_PATIENCE_MS =
        20000,                   /* who would wait longer is turned away: clients give up at 30 s */
    THROTTLE_FORGET_MS = 600000, /* after so long without a failure all is forgiven */
    THROTTLE_SUSPECTS = 256,     /* who has been quiet the longest is forgotten for a new one */
    THROTTLE_CHECKS_A_SECOND = 20,
};

/* An IPv4 address, or the /64 of an IPv6 one. */
struct throttle_network {
    unsigned char bytes[16];
};

struct throttle {
    struct throttle_suspect {
        struct throttle_network network;
        unsigned failures; /* 0: an empty place */
        int64_t failed_at_ms;
        int64_t free_at_ms; /* its next check */
    } suspects[THROTTLE_SUSPECTS];
    int64_t second;
    unsigned checks; /* in that second */
};

struct throttle_network throttle_network_of(const struct sockaddr *address);
/* When that network's next check may be: not after now_ms if at once, later if it has to wait, and
 * that turn is then taken; -1 if too many of it wait already. */
int64_t throttle_take_turn(struct throttle *t, const struct throttle_network *n, int64_t now_ms);
/* Counts a check. now_ms if it may be now, otherwise when to ask again. */
int64_t throttle_take_check(struct throttle *t, int64_t now_ms);
/* A password from there was wrong. */
void throttle_fail(struct throttle *t, const struct throttle_network *n, int64_t now_ms);

#endif
