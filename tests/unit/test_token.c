/* SPDX-License-Identifier: Apache-2.0
 * Tokens: how long they are good, how one is asked for, what an answer says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "upstream/token.h"

static const struct token_key key = {"https://a.example/token", "registry.example",
                                     "repository:x/y:pull", ""};

static void a_token_is_good_until_shortly_before_its_end(void **state)
{
    struct tokens *t = tokens_new();
    (void)state;
    assert_null(tokens_get(t, &key, 0));
    tokens_put(t, &key, "long", 300, 1000); /* 0.9 of it is the smaller */
    assert_string_equal(tokens_get(t, &key, 1000 + 269999), "long");
    assert_null(tokens_get(t, &key, 1000 + 270000));
    tokens_put(t, &key, "short", 60, 0); /* 10 s before the end is */
    assert_string_equal(tokens_get(t, &key, 49999), "short");
    assert_null(tokens_get(t, &key, 50000));
    tokens_put(t, &key, "unsaid", 0, 0);
    assert_string_equal(tokens_get(t, &key, 49999), "unsaid");
    assert_null(tokens_get(t, &key, 50000));
    tokens_put(t, &key, "tiny", 5, 0);
    assert_null(tokens_get(t, &key, 0));
    tokens_free(t);
}

static void every_part_of_the_key_counts_and_forgetting_takes_one(void **state)
{
    struct tokens *t = tokens_new();
    const struct token_key others[] = {{"https://b.example/token", key.service, key.scope, ""},
                                       {key.realm, "other", key.scope, ""},
                                       {key.realm, key.service, "repository:x/z:pull", ""},
                                       {key.realm, key.service, key.scope, "me"}};
    (void)state;
    tokens_put(t, &key, "mine", 300, 0);
    for (size_t i = 0; i < 4; i++)
        assert_null(tokens_get(t, &others[i], 0));
    tokens_put(t, &others[3], "me", 300, 0);
    tokens_forget(t, &key);
    assert_null(tokens_get(t, &key, 0));
    assert_string_equal(tokens_get(t, &others[3], 0), "me");
    tokens_free(t);
}

static void the_oldest_goes_when_there_are_too_many(void **state)
{
    struct tokens *t = tokens_new();
    char scope[32];
    struct token_key k = {"r", "s", scope, ""};
    (void)state;
    for (int i = 0; i < 4097; i++) {
        snprintf(scope, sizeof scope, "scope %d", i);
        tokens_put(t, &k, "x", 300, 0);
    }
    snprintf(scope, sizeof scope, "scope 0");
    assert_null(tokens_get(t, &k, 0));
    snprintf(scope, sizeof scope, "scope 1");
    assert_non_null(tokens_get(t, &k, 0));
    snprintf(scope, sizeof scope, "scope 4096");
    assert_non_null(tokens_get(t, &k, 0));
    tokens_free(t);
}

static void expect_answer(const char *json, const char *token, int64_t lifetime_s)
{
    char *found = NULL;
    int64_t seconds = -1;
    struct error e;
    assert_int_equal(token_read_answer(json, strlen(json), &found, &seconds, &e), 0);
    assert_string_equal(found, token);
    assert_int_equal(seconds, lifetime_s);
    free(found);
}

static void an_answer_names_its_token_in_either_way(void **state)
{
    (void)state;
    expect_answer("{\"token\":\"a\",\"expires_in\":300}", "a", 300);
    expect_answer("{\"access_token\":\"b\",\"expires_in\":5}", "b", 5);
    expect_answer("{\"token\":\"a\",\"access_token\":\"b\"}", "a", 60);
    expect_answer("{\"token\":\"\",\"access_token\":\"b\"}", "b", 60);
}

static void an_answer_without_a_token_is_an_error(void **state)
{
    static const char *const bad[] = {"",
                                      "{}",
                                      "[]",
                                      "<html>",
                                      "{\"token\":7}",
                                      "{\"token\":\"\"}",
                                      "{\"token\":\"a\\r\\nX: y\"}"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *token = NULL;
        int64_t seconds = 7;
        struct error e = {0};
        assert_int_equal(token_read_answer(bad[i], strlen(bad[i]), &token, &seconds, &e), -1);
        assert_null(token);
        assert_int_equal(seconds, 7);
        assert_int_not_equal(e.kind, ERR_NONE);
    }
}

static void expect_url(const char *realm, const char *service, const char *scope, const char *url)
{
    char *found = token_url(&(struct token_key){realm, service, scope, ""});
    assert_string_equal(found, url);
    free(found);
}

static void a_url_asks_for_service_and_scope(void **state)
{
    (void)state;
    expect_url("https://a/t", "r.example", "repository:x/y:pull",
               "https://a/t?service=r.example&scope=repository:x/y:pull");
    expect_url("https://a/t?p=1", "s", "c", "https://a/t?p=1&service=s&scope=c");
    expect_url("https://a/t", "", "c", "https://a/t?scope=c");
    expect_url("https://a/t", "a b&c", "", "https://a/t?service=a%20b%26c");
}

static void expect_basic(const char *user, const char *password, const char *value)
{
    char *found = token_basic(user, password);
    assert_string_equal(found, value);
    free(found);
}

static void a_password_is_written_in_base64(void **state)
{
    (void)state;
    expect_basic("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    expect_basic("a", "b", "Basic YTpi");
    expect_basic("ab", "c", "Basic YWI6Yw==");
    expect_basic("ab", "cd", "Basic YWI6Y2Q=");
    expect_basic("\xc3\xbf", "", "Basic w786");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_good_until_shortly_before_its_end),
        cmocka_unit_test(every_part_of_the_key_counts_and_forgetting_takes_one),
        cmocka_unit_test(the_oldest_goes_when_there_are_too_many),
        cmocka_unit_test(an_answer_names_its_token_in_either_way),
        cmocka_unit_test(an_answer_without_a_token_is_an_error),
        cmocka_unit_test(a_url_asks_for_service_and_scope),
        cmocka_unit_test(a_password_is_written_in_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
