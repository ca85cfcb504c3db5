/* SPDX-License-Identifier: Apache-2.0
 * listen: addresses as users write them, ports shared within a server and never between two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "serve/listen.h"

static void what_is_no_address_is_a_usage_error_that_quotes_it(void **state)
{
    static const char *const bad[] = {
        "",           "5000",          "127.0.0.1",     "127.0.0.1:",
        "[::1]",      "127.0.0.1:x",   "127.0.0.1:-1",  "127.0.0.1:65536",
        ":123456789", "[::1:5000",     "127.0.0.1:5 0", "127.0.0.1: 5000",
        "::1:x",      "no such name:1"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct listen_address a;
        struct error e;
        if (listen_resolve(bad[i], &a, &e) == 0)
            fail_msg("\"%s\" passed", bad[i]);
        if (e.kind != ERR_USAGE || !strstr(e.text, bad[i]))
            fail_msg("\"%s\": %s", bad[i], e.text);
    }
}

static void port_0_becomes_the_one_that_the_kernel_picked(void **state)
{
    struct listen_address a;
    struct error e;
    (void)state;
    assert_int_equal(listen_resolve("127.0.0.1:0", &a, &e), 0);
    int first = listen_open(&a, &e);
    assert_true(first >= 0);
    char *text = listen_print(&a);
    assert_int_equal(strncmp(text, "127.0.0.1:", 10), 0);
    assert_true(strtol(text + 10, NULL, 10) > 0);
    /* Further threads listen on the very same one. */
    int second = listen_open(&a, &e);
    assert_true(second >= 0);
    char *again = listen_print(&a);
    assert_string_equal(text, again);
    free(text);
    free(again);
    close(first);
    close(second);
}

static void a_port_that_another_server_shares_is_taken(void **state)
{
    struct listen_address a, b;
    struct error e;
    (void)state;
    assert_int_equal(listen_resolve("127.0.0.1:0", &a, &e), 0);
    int fd = listen_open(&a, &e);
    assert_true(fd >= 0);
    char *text = listen_print(&a);
    assert_int_equal(listen_resolve(text, &b, &e), -1);
    assert_int_equal(e.kind, ERR_IO);
    assert_non_null(strstr(e.text, text));
    close(fd);
    assert_int_equal(listen_resolve(text, &b, &e), 0);
    free(text);
}

static void version_6_is_printed_in_brackets(void **state)
{
    struct listen_address a = {.text = "x"};
    struct sockaddr_in6 at = {
        .sin6_family = AF_INET6, .sin6_port = htons(5000), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    (void)state;
    memcpy(&a.at, &at, sizeof at);
    a.length_bytes = sizeof at;
    char *text = listen_print(&a);
    assert_string_equal(text, "[::1]:5000");
    free(text);
}

static void a_local_socket_replaces_a_stale_one_and_is_its_owners_alone(void **state)
{
    char folder[] = "/tmp/tranship-test-XXXXXX";
    struct error e;
    struct stat st;
    (void)state;
    assert_non_null(mkdtemp(folder));
    int at = open(folder, O_RDONLY | O_DIRECTORY);
    mode_t before = umask(0);
    int first = listen_open_local(at, "door", &e), second = listen_open_local(at, "door", &e);
    umask(before);
    assert_true(first >= 0 && second >= 0);
    assert_int_equal(fstatat(at, "door", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    close(first);
    close(second);
    assert_int_equal(unlinkat(at, "door", 0), 0);
    assert_int_equal(mkdirat(at, "door", 0700), 0);
    assert_int_equal(listen_open_local(at, "door", &e), -1);
    assert_int_equal(e.kind, ERR_IO);
    assert_int_equal(unlinkat(at, "door", AT_REMOVEDIR), 0);
    close(at);
    assert_int_equal(rmdir(folder), 0);
}

static void only_this_machine_reaches_a_loopback_address(void **state)
{
    static const struct {
        const char *text;
        bool is_loopback;
    } all[] = {{"127.0.0.1:0", true},  {"127.9.9.9:0", true},
               {"localhost:0", true},  {"[::1]:0", true},
               {"0.0.0.0:0", false},   {":0", false},
               {"[::]:0", false},      {"[::ffff:127.0.0.1]:0", true},
               {"128.0.0.1:0", false}, {"[::ffff:10.0.0.1]:0", false}};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct listen_address a = {0};
        struct addrinfo *found, hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
        char host[64] = "";
        const char *end = strrchr(all[i].text, ':');
        bool has_brackets = all[i].text[0] == '[';
        memcpy(host, all[i].text + has_brackets, (size_t)(end - all[i].text) - 2 * has_brackets);
        assert_int_equal(getaddrinfo(host[0] ? host : NULL, "0", &hints, &found), 0);
        memcpy(&a.at, found->ai_addr, found->ai_addrlen);
        freeaddrinfo(found);
        if (listen_is_loopback(&a) != all[i].is_loopback)
            fail_msg("%s", all[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_address_is_a_usage_error_that_quotes_it),
        cmocka_unit_test(port_0_becomes_the_one_that_the_kernel_picked),
        cmocka_unit_test(a_port_that_another_server_shares_is_taken),
        cmocka_unit_test(version_6_is_printed_in_brackets),
        cmocka_unit_test(a_local_socket_replaces_a_stale_one_and_is_its_owners_alone),
        cmocka_unit_test(only_this_machine_reaches_a_loopback_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
