/* SPDX-License-Identifier: Apache-2.0
 * connection: deadlines, the rate of requests, and what an idle one gives back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/connection.h"

enum { PAGE = 4096, PAGES = 24, BYTES = PAGE * PAGES };

struct pair {
    int ours, theirs;
    char *buffer;
    struct connection c;
};

static int make(void **state)
{
    static struct pair p;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    p.ours = ends[0];
    p.theirs = ends[1];
    p.buffer = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p.buffer, MAP_FAILED);
    connection_init(&p.c, p.ours, 0, 100);
    *state = &p;
    return 0;
}

static int unmake(void **state)
{
    struct pair *p = *state;
    close(p->ours);
    close(p->theirs);
    munmap(p->buffer, BYTES);
    return 0;
}

/* As libmicrohttpd leaves a request's line in its buffer, and clears it after the request. */
static void answer_one(struct pair *p, int64_t now_ms)
{
    memcpy(p->buffer, "GET /v2/", 9);
    connection_begin_request(&p->c, "GET", p->buffer + 4);
    memset(p->buffer, 'x', BYTES);
    memset(p->buffer, 0, BYTES);
    connection_end_request(&p->c, now_ms, now_ms + 100);
}

static unsigned resident(const struct pair *p)
{
    unsigned char pages[PAGES];
    unsigned count = 0;
    assert_int_equal(mincore(p->buffer, BYTES, pages), 0);
    for (size_t i = 0; i < PAGES; i++)
        count += pages[i] & 1;
    return count;
}

static void a_request_is_due_from_the_start_and_from_the_last_answer(void **state)
{
    struct pair *p = *state;
    assert_false(connection_is_late(&p->c, 100));
    assert_true(connection_is_late(&p->c, 101));
    connection_begin_request(&p->c, "GET", p->buffer + 4);
    assert_false(connection_is_late(&p->c, INT64_MAX - 1));
    connection_end_request(&p->c, 5000, 5100);
    assert_false(connection_is_late(&p->c, 5100));
    assert_true(connection_is_late(&p->c, 5101));
}

static void a_connection_is_idle_after_a_second_without_a_request(void **state)
{
    struct pair *p = *state;
    assert_false(connection_is_idle(&p->c, 999));
    assert_true(connection_is_idle(&p->c, 1000));
    connection_begin_request(&p->c, "GET", p->buffer + 4);
    assert_false(connection_is_idle(&p->c, 5000));
    connection_end_request(&p->c, 5000, 9000);
    assert_false(connection_is_idle(&p->c, 5999));
    assert_true(connection_is_idle(&p->c, 6000));
}

static void a_connection_is_shut_once(void **state)
{
    struct pair *p = *state;
    char byte;
    assert_true(connection_shut(&p->c));
    assert_false(connection_shut(&p->c));
    assert_int_equal(read(p->theirs, &byte, 1), 0);
}

static void the_rate_counts_within_one_second(void **state)
{
    struct pair *p = *state;
    for (int i = 0; i < 1000; i++)
        assert_false(connection_is_over_rate(&p->c, 0, 5000));
    for (int i = 0; i < 3; i++)
        assert_false(connection_is_over_rate(&p->c, 3, 7000 + i));
    assert_true(connection_is_over_rate(&p->c, 3, 7999));
    assert_false(connection_is_over_rate(&p->c, 3, 8000));
}

static void an_idle_buffer_is_given_back(void **state)
{
    struct pair *p = *state;
    answer_one(p, 1000);
    assert_int_equal(resident(p), PAGES);
    connection_give_back(&p->c, BYTES);
    assert_int_equal(resident(p), 0);
    assert_int_equal(p->buffer[BYTES - 1], 0);
}

static void what_holds_a_byte_of_the_next_request_is_kept(void **state)
{
    struct pair *p = *state;
    answer_one(p, 1000);
    p->buffer[0] = 'G';
    p->buffer[5 * PAGE + 17] = 'x';
    connection_give_back(&p->c, BYTES);
    assert_int_equal(p->buffer[0], 'G');
    assert_int_equal(p->buffer[5 * PAGE + 17], 'x');
    assert_int_equal(resident(p), 2);
}

static void a_buffer_that_is_no_mapping_of_its_own_is_left_alone(void **state)
{
    struct pair *p = *state;
    connection_begin_request(&p->c, "GET", p->buffer + 4 + 16);
    memset(p->buffer, 0, BYTES);
    connection_end_request(&p->c, 1000, 1100);
    connection_give_back(&p->c, BYTES);
    assert_int_equal(resident(p), PAGES);
}

static void a_client_that_left_unnoticed_is_shut(void **state)
{
    struct pair *p = *state;
    answer_one(p, 1000);
    connection_settle(&p->c, 2000);
    assert_false(p->c.is_shut);
    answer_one(p, 3000);
    shutdown(p->theirs, SHUT_WR);
    connection_settle(&p->c, 4000);
    assert_true(p->c.is_shut);
}

static int send_buffer_after_fit(int family, const char *peer)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {.any.sa_family = (sa_family_t)family};
    int bytes, fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof bytes;
    assert_int_equal(
        inet_pton(family, peer, family == AF_INET ? (void *)&at.v4.sin_addr : &at.v6.sin6_addr), 1);
    connection_fit(fd, &at.any);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &length), 0);
    close(fd);
    return bytes;
}

static void only_a_client_on_this_machine_has_a_send_buffer_that_does_not_grow(void **state)
{
    (void)state;
    int usual, near = send_buffer_after_fit(AF_INET, "127.0.0.1");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof usual;
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &usual, &length), 0);
    close(fd);
    assert_int_not_equal(near, usual);
    assert_int_equal(send_buffer_after_fit(AF_INET, "127.255.0.9"), near);
    assert_int_equal(send_buffer_after_fit(AF_INET6, "::1"), near);
    assert_int_equal(send_buffer_after_fit(AF_INET6, "::ffff:127.0.0.1"), near);
    assert_int_equal(send_buffer_after_fit(AF_INET, "192.0.2.1"), usual);
    assert_int_equal(send_buffer_after_fit(AF_INET, "126.0.0.1"), usual);
    assert_int_equal(send_buffer_after_fit(AF_INET6, "2001:db8::1"), usual);
    assert_int_equal(send_buffer_after_fit(AF_INET6, "::ffff:192.0.2.127"), usual);
}

#define WITH_PAIR(f) cmocka_unit_test_setup_teardown(f, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PAIR(a_request_is_due_from_the_start_and_from_the_last_answer),
        WITH_PAIR(a_connection_is_idle_after_a_second_without_a_request),
        WITH_PAIR(a_connection_is_shut_once),
        WITH_PAIR(the_rate_counts_within_one_second),
        WITH_PAIR(an_idle_buffer_is_given_back),
        WITH_PAIR(what_holds_a_byte_of_the_next_request_is_kept),
        WITH_PAIR(a_buffer_that_is_no_mapping_of_its_own_is_left_alone),
        WITH_PAIR(a_client_that_left_unnoticed_is_shut),
        cmocka_unit_test(only_a_client_on_this_machine_has_a_send_buffer_that_does_not_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
