/* SPDX-License-Identifier: Apache-2.0
 * What an upstream's headers are taken to say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "fetch/head.h"

#define DIGEST "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* Lines that must all be taken, up to a NULL. */
static struct head read_all(const char *const *lines)
{
    struct head h;
    struct error e = {0};
    head_init(&h);
    for (; *lines; lines++)
        if (head_read_line(&h, slice_of(*lines), &e) < 0)
            fail_msg("%s: %s", *lines, e.text);
    head_end(&h);
    return h;
}

static void what_is_not_said_is_absent(void **state)
{
    static const char *const lines[] = {"Server: x\r\n", "no header", ": ", ":", "", NULL};
    struct head h = read_all(lines);
    (void)state;
    assert_int_equal(h.content_length, -1);
    assert_int_equal(h.rate_limit, -1);
    assert_int_equal(h.rate_remaining, -1);
    assert_int_equal(h.retry_after_s, 0);
    assert_int_equal(h.challenge.scheme, CHALLENGE_NONE);
    assert_string_equal(h.location, "");
    assert_false(h.has_content_range || h.is_chunked);
}

static void names_are_read_in_any_case_and_values_without_spaces(void **state)
{
    static const char *const lines[] = {"CONTENT-LENGTH:  42 \r\n",
                                        "content-type:\tapplication/json\r\n",
                                        "Docker-Content-Digest: " DIGEST "\r\n",
                                        "Content-Range: bytes 5-9/10\n",
                                        "Content-Encoding: gzip",
                                        "Location: https://cdn/x: y",
                                        "Link: </n>; rel=\"next\"",
                                        NULL};
    struct head h = read_all(lines);
    (void)state;
    assert_int_equal(h.content_length, 42);
    assert_string_equal(h.content_type, "application/json");
    assert_string_equal(h.digest, DIGEST);
    assert_true(h.has_content_range);
    assert_int_equal(h.content_range.last, 9);
    assert_string_equal(h.content_encoding, "gzip");
    assert_string_equal(h.location, "https://cdn/x: y");
    assert_string_equal(h.link, "</n>; rel=\"next\"");
}

static void what_is_too_long_is_absent_not_cut(void **state)
{
    char line[5000] = "Location: https://h/";
    const char *const lines[] = {"Location: https://first/", line, NULL};
    (void)state;
    memset(line + strlen(line), 'a', sizeof line - strlen(line) - 1);
    struct head h = read_all(lines);
    assert_string_equal(h.location, "");
}

static void a_length_is_one_number_however_often_it_is_said(void **state)
{
    static const char *const same[] = {"Content-Length: 7", "Content-Length: 7", NULL};
    static const char *const bad[] = {
        "Content-Length: 8", "Content-Length: -7",  "Content-Length: 7x",
        "Content-Length:",   "Content-Length: 7,7", "Content-Length: 9223372036854775808"};
    (void)state;
    assert_int_equal(read_all(same).content_length, 7);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error e = {0};
        struct head h = read_all(same);
        assert_int_equal(head_read_line(&h, slice_of(bad[i]), &e), -1);
        assert_int_equal(e.kind, ERR_UPSTREAM);
        assert_int_equal(h.content_length, 7);
    }
}

static void what_comes_in_chunks_has_no_stated_length(void **state)
{
    static const char *const lines[] = {"Content-Length: 7", "Transfer-Encoding: chunked", NULL};
    (void)state;
    assert_int_equal(read_all(lines).content_length, -1);
}

static void a_limit_is_told_in_seconds_or_as_a_date_within_a_week(void **state)
{
    static const struct {
        const char *line;
        int seconds;
    } cases[] = {
        {"Retry-After: 30", 30},
        {"Retry-After: 604800", 604800},
        {"Retry-After: 604801", 0},
        {"Retry-After: -1", 0},
        {"Retry-After: soon", 0},
        {"Retry-After: Thu, 01 Jan 1970 00:17:10 GMT", 30},
        {"Retry-After: Thu, 01 Jan 1970 00:16:00 GMT", 0}, /* past */
        {"Retry-After: Fri, 01 Jan 2100 00:00:00 GMT", 0},
        {"Retry-After: Thu, 01 Jan 1970 00:17:10 GMT and some more words that make it long", 0},
    };
    (void)state;
    clock_freeze(1000, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const lines[] = {cases[i].line, NULL};
        if (read_all(lines).retry_after_s != cases[i].seconds)
            fail_msg("%s: %d", cases[i].line, read_all(lines).retry_after_s);
    }
    clock_real();
}

static void rates_are_read_without_their_window(void **state)
{
    static const char *const lines[] = {"RateLimit-Limit: 100;w=21600",
                                        "RateLimit-Remaining: 99 ; w=21600", NULL};
    static const char *const none[] = {"RateLimit-Limit: many", "RateLimit-Remaining: -3", NULL};
    (void)state;
    assert_int_equal(read_all(lines).rate_limit, 100);
    assert_int_equal(read_all(lines).rate_remaining, 99);
    assert_int_equal(read_all(none).rate_limit, -1);
    assert_int_equal(read_all(none).rate_remaining, -1);
}

static void the_best_challenge_of_several_lines_is_kept(void **state)
{
    static const char *const lines[] = {"WWW-Authenticate: Basic realm=\"a\"",
                                        "WWW-Authenticate: Bearer realm=\"https://t\"",
                                        "WWW-Authenticate: Basic realm=\"b\"", NULL};
    (void)state;
    assert_int_equal(read_all(lines).challenge.scheme, CHALLENGE_BEARER);
    assert_string_equal(read_all(lines).challenge.realm, "https://t");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_said_is_absent),
        cmocka_unit_test(names_are_read_in_any_case_and_values_without_spaces),
        cmocka_unit_test(what_is_too_long_is_absent_not_cut),
        cmocka_unit_test(a_length_is_one_number_however_often_it_is_said),
        cmocka_unit_test(what_comes_in_chunks_has_no_stated_length),
        cmocka_unit_test(a_limit_is_told_in_seconds_or_as_a_date_within_a_week),
        cmocka_unit_test(rates_are_read_without_their_window),
        cmocka_unit_test(the_best_challenge_of_several_lines_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
