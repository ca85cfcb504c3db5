/* SPDX-License-Identifier: Apache-2.0
 * A registry that says what it was told to say: two origins on loopback, a list of steps. A request
 * takes the first unused step that it begins with; what does not fit is told by scripted_stop. In
 * answers and expectations <A> and <B> stand for the origins' ports. */
#ifndef TESTS_SCRIPTED_H
#define TESTS_SCRIPTED_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"

enum { SCRIPTED_MAX_HELD = 64 };

struct scripted_step {
    const char *begins;      /* "GET /v2/" */
    const char *has, *lacks; /* somewhere in the request; NULL: whatever */
    const char *answer; /* status line and so on; NULL: silence, with the connection kept open */
    bool is_open;       /* the connection stays open after the answer */
    bool is_used;
};

struct scripted {
    struct scripted_step *steps; /* until one with begins NULL */
    int listeners[2], stop[2];
    unsigned ports[2];
    int held[SCRIPTED_MAX_HELD];
    unsigned held_count;
    pthread_t thread;
    char wrong[2048]; /* read after the join */
};

static inline void scripted_fill_in(const struct scripted *s, const char *from, struct str *out)
{
    for (; *from; from++) {
        bool is_a = strncmp(from, "<A>", 3) == 0;
        if (!is_a && strncmp(from, "<B>", 3) != 0) {
            str_add_char(out, *from);
            continue;
        }
        str_format(out, "%u", s->ports[is_a ? 0 : 1]);
        from += 2;
    }
}

static inline bool scripted_contains(const struct scripted *s, const char *request,
                                     const char *part)
{
    autostr struct str text = {0};
    scripted_fill_in(s, part, &text);
    return strcasestr(request, str_text(&text)) != NULL;
}

static inline void scripted_read(int fd, struct str *request)
{
    char bytes[4096];
    size_t wanted = SIZE_MAX;
    while (request->length < wanted) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n <= 0)
            return;
        str_add_bytes(request, bytes, (size_t)n);
        const char *end = strstr(str_text(request), "\r\n\r\n"),
                   *length = strcasestr(str_text(request), "\r\nContent-Length: ");
        if (end)
            wanted = (size_t)(end + 4 - str_text(request)) +
                     (length ? strtoul(length + 18, NULL, 10) : 0);
    }
}

static inline void scripted_serve(struct scripted *s, int fd)
{
    autostr struct str request = {0}, answer = {0};
    scripted_read(fd, &request);
    const char *text = str_text(&request);
    struct scripted_step *p = s->steps;
    while (p->begins && (p->is_used || strncmp(text, p->begins, strlen(p->begins)) != 0))
        p++;
    if (!p->begins || (p->has && !scripted_contains(s, text, p->has)) ||
        (p->lacks && scripted_contains(s, text, p->lacks)))
        snprintf(s->wrong, sizeof s->wrong, "unexpected (%s):\n%s",
                 p->begins ? p->begins : "no step", text);
    if (p->begins)
        p->is_used = true;
    if (p->begins && p->answer)
        scripted_fill_in(s, p->answer, &answer);
    const char *out = p->begins ? str_text(&answer) : "HTTP/1.1 599 Unexpected\r\n\r\n";
    bool is_kept =
        send(fd, out, strlen(out), MSG_NOSIGNAL) >= 0 && p->begins && (!p->answer || p->is_open);
    if (is_kept && s->held_count < SCRIPTED_MAX_HELD) {
        s->held[s->held_count] = fd;
        __atomic_fetch_add(&s->held_count, 1, __ATOMIC_RELEASE);
    } else {
        close(fd);
    }
}

static inline void *scripted_run(void *cls)
{
    struct scripted *s = cls;
    for (;;) {
        struct pollfd p[3] = {
            {s->listeners[0], POLLIN, 0}, {s->listeners[1], POLLIN, 0}, {s->stop[0], POLLIN, 0}};
        poll(p, 3, -1);
        if (p[2].revents)
            return NULL;
        for (int i = 0; i < 2; i++)
            if (p[i].revents)
                scripted_serve(s, accept(s->listeners[i], NULL, NULL));
    }
}

static inline void scripted_start(struct scripted *s, struct scripted_step *steps)
{
    memset(s, 0, sizeof *s);
    s->steps = steps;
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof at;
        s->listeners[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(s->listeners[i], (struct sockaddr *)&at, sizeof at) < 0 ||
            listen(s->listeners[i], 64) < 0)
            abort();
        getsockname(s->listeners[i], (struct sockaddr *)&at, &length);
        s->ports[i] = ntohs(at.sin_port);
    }
    if (pipe(s->stop) < 0 || pthread_create(&s->thread, NULL, scripted_run, s) != 0)
        abort();
}

/* What went wrong, or NULL: a request that was not expected, a step that never came. */
static inline const char *scripted_stop(struct scripted *s)
{
    if (write(s->stop[1], "x", 1) != 1)
        abort();
    pthread_join(s->thread, NULL);
    for (unsigned i = 0; i < s->held_count; i++)
        close(s->held[i]);
    for (int i = 0; i < 2; i++) {
        close(s->listeners[i]);
        close(s->stop[i]);
    }
    for (struct scripted_step *p = s->steps; p->begins && !s->wrong[0]; p++)
        if (!p->is_used)
            snprintf(s->wrong, sizeof s->wrong, "never asked: %s", p->begins);
    return s->wrong[0] ? s->wrong : NULL;
}

#endif
