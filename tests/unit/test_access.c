/* SPDX-License-Identifier: Apache-2.0
 * access: networks bit by bit, hashes of the kinds that are known, and the memory of what was
 * checked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "serve/access.h"
#include "serve/throttle.h"

/* "U*U" and "Hello world!" as others hash them: a test vector of crypt_blowfish, and openssl
 * passwd. */
#define BCRYPT "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
#define SHA512                                                                                     \
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnI"                                 \
    "FNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
#define ANYBODY "Basic dTpVKlU="           /* u:U*U */
#define OTHER "Basic djpIZWxsbyB3b3JsZCE=" /* v:Hello world! */
#define WRONG "Basic dTpVKlY="             /* u:U*V */

static struct access *load(const char *users, char *const *networks)
{
    char name[] = "/tmp/test_access.XXXXXX";
    struct error e;
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, users, strlen(users)), strlen(users));
    close(fd);
    const struct access_options o = {.users = users[0] ? name : NULL, .networks = networks};
    struct access *a = access_load(&o, &e);
    unlink(name);
    return a;
}

static bool admits(char *network, const char *address)
{
    char *const networks[] = {network, NULL};
    struct sockaddr_in six_less = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct visitor v = {.address = (const struct sockaddr *)&six_less};
    struct error e;
    if (inet_pton(AF_INET, address, &six_less.sin_addr) != 1) {
        assert_int_equal(inet_pton(AF_INET6, address, &six.sin6_addr), 1);
        v.address = (const struct sockaddr *)&six;
    }
    struct access *a = load("", networks);
    assert_non_null(a);
    struct access_memory *m = access_memory_new();
    int64_t at_ms;
    bool is_in = access_check(a, m, &v, 0, &at_ms, &e) == 0;
    if (!is_in)
        assert_int_equal(e.kind, ERR_DENIED);
    access_memory_free(m);
    access_free(a);
    return is_in;
}

static void a_network_is_its_first_bits(void **state)
{
    (void)state;
    assert_true(admits("10.0.0.0/8", "10.255.255.255"));
    assert_false(admits("10.0.0.0/8", "11.0.0.0"));
    assert_true(admits("192.168.4.0/22", "192.168.7.255"));
    assert_false(admits("192.168.4.0/22", "192.168.8.0"));
    assert_false(admits("192.168.4.0/22", "192.168.3.255"));
    assert_true(admits("1.2.3.4", "1.2.3.4"));
    assert_false(admits("1.2.3.4", "1.2.3.5"));
    assert_true(admits("0.0.0.0/0", "203.0.113.9"));
    assert_false(admits("0.0.0.0/0", "2001:db8::1"));
    assert_true(admits("fd00::/8", "fdff::1"));
    assert_false(admits("fd00::/8", "fe00::1"));
    assert_true(admits("::/0", "2001:db8::1"));
    assert_true(admits("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_true(admits("2001:db8::/33", "2001:db8:7fff::"));
    assert_false(admits("2001:db8::/33", "2001:db8:8000::"));
}

static void what_is_no_network_is_refused(void **state)
{
    static char *bad[] = {"10.0.0.0/33", "10.0.0.0/",   "10.0.0.0/-1", "10.0.0/8",
                          "fd00::/129",  "example.com", "/8",          "10.0.0.0/8/8"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *const networks[] = {bad[i], NULL};
        if (load("", networks))
            fail_msg("\"%s\" passed", bad[i]);
    }
}

/* WAIT, or 0, or why not. */
enum { WAIT = -1 };
static struct sockaddr_in from = {.sin_family = AF_INET};
static int64_t turn_ms; /* where it says WAIT */

static int check_for(const struct access *a, struct access_memory *m, const char *header,
                     int64_t came_ms, int64_t now_ms)
{
    struct visitor v = {.address = (const struct sockaddr *)&from,
                        .authorization = header,
                        .came_ms = came_ms,
                        .has_waited = now_ms > came_ms};
    struct error e;
    int verdict = access_check(a, m, &v, now_ms, &turn_ms, &e);
    return verdict == 0 ? 0 : verdict > 0 ? WAIT : (int)e.kind;
}

static int check(const struct access *a, struct access_memory *m, const char *header,
                 int64_t now_ms)
{
    return check_for(a, m, header, now_ms, now_ms);
}

/* Six bits of the password are i; none is right. */
static const char *guess(unsigned i)
{
    static char header[] = "Basic dTpVKlA=";
    header[10] = (char)('A' + i);
    return header;
}

static void known_kinds_of_hashes_are_checked(void **state)
{
    (void)state;
    struct access *a = load("u:" BCRYPT "\r\nv:" SHA512 "\n", NULL);
    struct access_memory *m = access_memory_new();
    assert_null(a); /* a carriage return is no part of a hash */
    a = load("u:" BCRYPT "\nv:" SHA512 "\n", NULL);
    assert_non_null(a);
    assert_int_equal(check(a, m, ANYBODY, 0), 0);
    assert_int_equal(check(a, m, OTHER, 0), 0);
    assert_int_equal(check(a, m, WRONG, 0), ERR_UNAUTHORIZED);
    assert_int_equal(check(a, m, WRONG, 0), ERR_UNAUTHORIZED);
    assert_int_equal(check(a, m, NULL, 0), ERR_UNAUTHORIZED);
    access_memory_free(m);
    access_free(a);
}

static void rules_are_the_same_if_all_of_them_are(void **state)
{
    static char *one[] = {"10.0.0.0/8", NULL}, *other[] = {"10.0.0.0/9", NULL};
    (void)state;
    struct access *all[] = {load("u:" BCRYPT "\n", one),
                            load("u:" BCRYPT "\n", other),
                            load("v:" BCRYPT "\n", one),
                            load("u:" SHA512 "\n", one),
                            load("u:" BCRYPT "\n", NULL),
                            load("", one),
                            load("u:" BCRYPT "\nv:" SHA512 "\n", one)};
    struct access *again = load("# comment\nu:" BCRYPT, one);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_int_equal(access_is_same(again, all[i]), i == 0);
        assert_false(access_is_empty(all[i]));
        access_free(all[i]);
    }
    access_free(again);
    struct access *none = load("", NULL);
    assert_true(access_is_empty(none));
    access_free(none);
}

static void who_guesses_waits_and_who_is_known_does_not(void **state)
{
    unsigned i = 0;
    (void)state;
    struct access *a = load("u:" BCRYPT "\nv:" SHA512 "\n", NULL);
    struct access_memory *m = access_memory_new();
    from.sin_addr.s_addr = htonl(0x0A000001);
    assert_int_equal(check(a, m, ANYBODY, 1000), 0);
    while (check(a, m, guess(i), 1000) == ERR_UNAUTHORIZED)
        i++;
    assert_int_equal(i, THROTTLE_FREE_FAILURES);
    assert_int_equal(turn_ms, 1000 + THROTTLE_FIRST_MS);
    assert_int_equal(check_for(a, m, guess(i), 1000, 2000), ERR_UNAUTHORIZED);
    /* what is known, right or wrong, is answered at once, there as elsewhere */
    assert_int_equal(check(a, m, ANYBODY, 2000), 0);
    assert_int_equal(check(a, m, guess(0), 2000), ERR_UNAUTHORIZED);
    assert_int_equal(check(a, m, OTHER, 2000), WAIT); /* nobody can tell it from a guess */
    from.sin_addr.s_addr = htonl(0x0A000002);
    assert_int_equal(check(a, m, OTHER, 2000), 0);
    access_memory_free(m);
    access_free(a);
}

static void too_many_passwords_at_once_wait_and_then_are_turned_away(void **state)
{
    (void)state;
    struct access *a = load("u:" BCRYPT "\n", NULL);
    struct access_memory *m = access_memory_new();
    for (unsigned i = 0; i < THROTTLE_CHECKS_A_SECOND; i++) {
        from.sin_addr.s_addr = htonl(0x0A000000 + i);
        assert_int_equal(check(a, m, guess(i), 1000), ERR_UNAUTHORIZED);
    }
    from.sin_addr.s_addr = htonl(0x0A000100);
    assert_int_equal(check(a, m, ANYBODY, 1500), WAIT);
    assert_int_equal(turn_ms, 2000);
    assert_int_equal(check_for(a, m, ANYBODY, 1500 - THROTTLE_PATIENCE_MS, 1500), ERR_BUSY);
    assert_int_equal(check_for(a, m, ANYBODY, 1500, 2000), 0);
    access_memory_free(m);
    access_free(a);
}

static void guesses_push_no_right_password_out_of_memory(void **state)
{
    unsigned guesses = 0;
    (void)state;
    struct access *a = load("u:" BCRYPT "\n", NULL);
    struct access_memory *m = access_memory_new();
    assert_int_equal(check(a, m, ANYBODY, 1000), 0);
    for (unsigned i = 0; i < 2000; i++) {
        char header[] = "Basic dTpVAAA="; /* u:U.. */
        header[10] = (char)('A' + i % 26);
        header[11] = (char)('A' + i / 26 % 26);
        header[12] = "AEIMQUYcgk"[i / 676];
        from.sin_addr.s_addr = htonl(0x0B000000 + i);
        guesses += check(a, m, header, 2000 + 50 * (int64_t)i) == ERR_UNAUTHORIZED;
        if (i % 20 == 0)
            assert_int_equal(check(a, m, ANYBODY, 2000 + 50 * (int64_t)i), 0);
    }
    assert_int_equal(guesses, 2000);
    from.sin_addr.s_addr = 0;
    access_memory_forget(m);
    assert_int_equal(check(a, m, WRONG, 200000), ERR_UNAUTHORIZED);
    assert_int_equal(check(a, m, ANYBODY, 200000), 0);
    access_memory_free(m);
    access_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_is_its_first_bits),
        cmocka_unit_test(what_is_no_network_is_refused),
        cmocka_unit_test(known_kinds_of_hashes_are_checked),
        cmocka_unit_test(rules_are_the_same_if_all_of_them_are),
        cmocka_unit_test(who_guesses_waits_and_who_is_known_does_not),
        cmocka_unit_test(too_many_passwords_at_once_wait_and_then_are_turned_away),
        cmocka_unit_test(guesses_push_no_right_password_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
