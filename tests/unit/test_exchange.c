/* SPDX-License-Identifier: Apache-2.0
 * Exchanges with a scripted registry: tokens, redirects, refusals, time-outs. Its upstream is
 * 127.0.0.1; "localhost" is a foreign host to it. */
#include "asking.h"

#include "base/alloc.h"
#include "fetch/authorize.h"
#include "upstream/token.h"

#define OK(body) "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " body
#define STATUS(status, more)                                                                       \
    "HTTP/1.1 " status "\r\nConnection: close\r\n" more "Content-Length: 0\r\n\r\n"
#define CHALLENGE                                                                                  \
    "WWW-Authenticate: Bearer "                                                                    \
    "realm=\"http://127.0.0.1:<A>/token\",service=\"reg\",scope=\"repository:user/"                \
    "image:pull\"\r\n"
#define TOKEN(t)                                                                                   \
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"token\":\"" t "\",\"expires_in\":300}"
#define BLOB "GET /v2/x/y/blobs/d "
#define LAST                                                                                       \
    {                                                                                              \
        .begins = NULL                                                                             \
    }

/* --- answers ---------------------------------------------------------------------------------- */

static void a_public_answer_comes_whole_and_says_who_asks(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, "User-Agent: tranship/test\r\n", "Authorization", OK("5\r\n\r\nhello"), false,
         false},
        {BLOB, "Accept-Encoding: identity\r\n", NULL,
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
         false, false},
        LAST};
    (void)state;
    begin(steps);
    ask(NULL, ERR_NONE, 200, "hello");
    ask(NULL, ERR_NONE, 200, "hello");
    end();
}

static void a_head_has_no_body_and_a_range_is_passed_on(void **state)
{
    struct scripted_step steps[] = {
        {"HEAD /v2/", NULL, "Range:", OK("5\r\n\r\n"), false, false},
        {BLOB, "Range: bytes=3-\r\n", NULL,
         "HTTP/1.1 206 P\r\nConnection: close\r\nContent-Range: bytes 3-4/5\r\nContent-Length: "
         "2\r\n\r\nlo",
         false, false},
        {BLOB, NULL, "Range:", "HTTP/1.1 206 P\r\nConnection: close\r\nContent-Length: 2\r\n\r\nlo",
         false, false},
        LAST};
    (void)state;
    begin(steps);
    ask(&(struct exchange_request){.is_head = true}, ERR_NONE, 200, "");
    ask(&(struct exchange_request){.has_range = true, .range_first = 3, .range_last = UINT64_MAX},
        ERR_NONE, 206, "lo");
    ask(NULL, ERR_UPSTREAM, 206, "");
    end();
}

static void every_refusal_has_its_kind(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL, STATUS("404 Not Found", ""), false, false},
        {BLOB, NULL, NULL, STATUS("403 F", ""), false, false},
        {BLOB, NULL, NULL, STATUS("416 R", ""), false, false},
        {BLOB, NULL, NULL, STATUS("429 T", "Retry-After: 7\r\n"), false, false},
        {BLOB, NULL, NULL, STATUS("500 E", ""), false, false},
        {BLOB, NULL, NULL, STATUS("418 T", ""), false, false},
        LAST};
    static const enum error_kind kinds[] = {ERR_NOT_FOUND, ERR_NAME_UNKNOWN, ERR_RANGE_INVALID,
                                            ERR_LIMITED,   ERR_UPSTREAM,     ERR_UPSTREAM};
    static const int statuses[] = {404, 403, 416, 429, 500, 418};
    (void)state;
    begin(steps);
    for (int i = 0; i < 6; i++) {
        struct error why = ask(NULL, kinds[i], statuses[i], "");
        assert_int_equal(why.upstream_status, statuses[i]);
        assert_int_equal(why.retry_after_s, statuses[i] == 429 ? 7 : 0);
    }
    end();
}

static void an_error_tells_the_upstreams_message_but_no_query(void **state)
{
    struct scripted_step steps[] = {
        {"GET /v2/x/y/tags/list", NULL, NULL,
         "HTTP/1.1 404 N\r\nConnection: "
         "close\r\n\r\n{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"no such name\"}]}",
         false, false},
        LAST};
    (void)state;
    begin(steps);
    struct error why = ask(&(struct exchange_request){.path = "/v2/x/y/tags/list?last=secret"},
                           ERR_NOT_FOUND, 404, "");
    assert_non_null(strstr(why.text, "answered 404 for /v2/x/y/tags/list: "));
    assert_non_null(strstr(why.text, "no such name"));
    assert_null(strstr(why.text, "secret"));
    end();
}

static void a_long_error_page_keeps_its_status(void **state)
{
    char *page = alloc_zero(200001);
    memset(page, 'x', 200000);
    char *answer = alloc_format(
        "HTTP/1.1 404 N\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n%s", page);
    struct scripted_step steps[] = {{BLOB, NULL, NULL, answer, false, false}, LAST};
    (void)state;
    begin(steps);
    ask(NULL, ERR_NOT_FOUND, 404, "");
    end();
    free(page);
    free(answer);
}

static void what_is_packed_cut_or_endless_is_an_upstream_error(void **state)
{
    char *padding = alloc_zero(70001);
    memset(padding, 'x', 70000);
    char *large = alloc_format("HTTP/1.1 200 OK\r\nX: %s\r\n\r\n", padding);
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL, OK("2\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b"), false, false},
        {BLOB, NULL, NULL, OK("9\r\n\r\nhello"), false, false},
        {BLOB, NULL, NULL, large, false, false},
        LAST};
    (void)state;
    begin(steps);
    ask(NULL, ERR_UPSTREAM, 200, "");
    ask(NULL, ERR_UPSTREAM, 200, "hello");
    struct question q;
    send_off(&q, &(struct exchange_request){0});
    sem_wait(&q.is_done);
    assert_int_equal(q.why.kind, ERR_UPSTREAM);
    assert_int_equal(q.heads, 0);
    sem_destroy(&q.is_done);
    end();
    free(padding);
    free(large);
}

/* --- tokens ----------------------------------------------------------------------------------- */

static void a_401_gets_a_token_of_our_scope_and_the_next_asks_with_it_at_once(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, "Authorization", STATUS("401 U", CHALLENGE), false, false},
        {"GET /token?service=reg&scope=repository:x/y:pull ", NULL, "Authorization", TOKEN("t1"),
         false, false},
        {BLOB, "Authorization: Bearer t1\r\n", NULL, OK("2\r\n\r\nok"), false, false},
        {BLOB, "Authorization: Bearer t1\r\n", NULL, OK("2\r\n\r\nok"), false, false},
        LAST};
    (void)state;
    begin(steps);
    ask(NULL, ERR_NONE, 200, "ok");
    ask(NULL, ERR_NONE, 200, "ok");
    end();
}

static void many_wait_for_one_token(void **state)
{
    enum { MANY = 20 };
    struct scripted_step steps[3 + MANY + 1] = {
        {"GET /v2/x/y/blobs/first ", NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
        {"GET /token", NULL, NULL, STATUS("429 T", "Retry-After: 9\r\n"), false, false},
        {"GET /token", NULL, NULL, TOKEN("t1"), false, false}};
    struct question q[MANY];
    (void)state;
    for (int i = 0; i < MANY; i++)
        steps[3 + i] =
            (struct scripted_step){BLOB, "Bearer t1", NULL, OK("2\r\n\r\nok"), false, false};
    begin(steps);
    struct exchange_request first = {.path = "/v2/x/y/blobs/first"};
    assert_int_equal(ask(&first, ERR_LIMITED, 0, "").retry_after_s, 9);
    for (int i = 0; i < MANY; i++)
        send_off(&q[i], &(struct exchange_request){0});
    for (int i = 0; i < MANY; i++)
        expect(&q[i], ERR_NONE, 200, "ok");
    end();
}

static void a_refused_token_is_renewed_once_and_no_more(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
        {"GET /token", NULL, NULL, TOKEN("t1"), false, false},
        {BLOB, "Bearer t1", NULL, OK("2\r\n\r\nok"), false, false},
        {BLOB, "Bearer t1", NULL, STATUS("401 U", CHALLENGE), false, false},
        {"GET /token", NULL, NULL, TOKEN("t2"), false, false},
        {BLOB, "Bearer t2", NULL, OK("2\r\n\r\nok"), false, false},
        {BLOB, "Bearer t2", NULL, STATUS("401 U", CHALLENGE), false, false},
        {"GET /token", NULL, NULL, TOKEN("t3"), false, false},
        {BLOB, "Bearer t3", NULL, STATUS("401 U", CHALLENGE), false, false},
        LAST};
    (void)state;
    begin(steps);
    ask(NULL, ERR_NONE, 200, "ok");
    ask(NULL, ERR_NONE, 200, "ok");
    ask(NULL, ERR_NAME_UNKNOWN, 401, "");
    end();
}

static void a_401_without_a_challenge_is_explained_by_the_base(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL, STATUS("401 U", ""), false, false},
        {"GET /v2/ ", NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
        {"GET /token", NULL, NULL, TOKEN("t1"), false, false},
        {BLOB, "Bearer t1", NULL, OK("2\r\n\r\nok"), false, false},
        LAST};
    (void)state;
    begin(steps);
    ask(NULL, ERR_NONE, 200, "ok");
    end();
}

static void a_token_service_that_refuses_has_its_kinds(void **state)
{
    /* After a failure the registry is asked for its challenge anew: the service may have moved. */
    struct scripted_step steps[] = {{BLOB, NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
                                    {"GET /token", NULL, NULL, STATUS("403 F", ""), false, false},
                                    {"GET /token", NULL, NULL, STATUS("502 B", ""), false, false},
                                    {BLOB, NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
                                    {"GET /token", NULL, NULL, OK("2\r\n\r\n{}"), false, false},
                                    {BLOB, NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
                                    {"GET /token", "Authorization: Basic bWU6cHc=\r\n", NULL,
                                     STATUS("401 U", ""), false, false},
                                    LAST};
    (void)state;
    begin(steps);
    ask(NULL, ERR_NAME_UNKNOWN, 0, "");
    ask(NULL, ERR_UPSTREAM, 0, "");
    ask(NULL, ERR_UPSTREAM, 0, "");
    source.username = (char[]){"me"};
    source.password = (char[]){"pw"};
    struct error why = ask(NULL, ERR_CREDENTIALS, 0, "");
    assert_non_null(strstr(why.text, source.url));
    assert_null(strstr(why.text, "pw"));
    end();
}

static void a_token_service_without_get_is_asked_by_a_form(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
        {"GET /token", "Authorization: Basic", NULL, STATUS("405 M", ""), false, false},
        {"POST /token ", "\r\n\r\ngrant_type=password&", "Authorization", TOKEN("t1"), false,
         false},
        {BLOB, "Bearer t1", NULL, OK("2\r\n\r\nok"), false, false},
        LAST};
    (void)state;
    begin(steps);
    source.username = (char[]){"me"};
    source.password = (char[]){"p&w"};
    ask(NULL, ERR_NONE, 200, "ok");
    end();
}

static void credentials_go_to_no_foreign_realm(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL,
         STATUS(
             "401 U",
             "WWW-Authenticate: Bearer realm=\"http://localhost:<B>/token\",service=\"reg\"\r\n"),
         false, false},
        {"GET /token", NULL, "Authorization", TOKEN("t1"), false, false},
        {BLOB, "Bearer t1", NULL, OK("2\r\n\r\nok"), false, false},
        LAST};
    (void)state;
    begin(steps);
    source.username = (char[]){"me"};
    source.password = (char[]){"pw"};
    ask(NULL, ERR_NONE, 200, "ok");
    end();
}

static void basic_is_sent_when_asked_for_and_its_refusal_is_told(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, "Authorization", STATUS("401 U", "WWW-Authenticate: Basic realm=\"r\"\r\n"),
         false, false},
        {BLOB, "Authorization: Basic bWU6cHc=\r\n", NULL, OK("2\r\n\r\nok"), false, false},
        {BLOB, "Authorization: Basic bWU6cHc=\r\n", NULL,
         STATUS("401 U", "WWW-Authenticate: Basic realm=\"r\"\r\n"), false, false},
        {BLOB, "Authorization: Basic bWU6cHc=\r\n", NULL,
         STATUS("401 U", "WWW-Authenticate: Basic realm=\"r\"\r\n"), false, false},
        {BLOB, NULL, "Authorization", STATUS("401 U", "WWW-Authenticate: Basic realm=\"r\"\r\n"),
         false, false},
        LAST};
    (void)state;
    begin(steps);
    source.username = (char[]){"me"};
    source.password = (char[]){"pw"};
    ask(NULL, ERR_NONE, 200, "ok");
    ask(NULL, ERR_CREDENTIALS, 401, "");
    source.username = NULL;
    ask(NULL, ERR_NAME_UNKNOWN, 401, "");
    end();
}

#define WIDER                                                                                      \
    "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:<A>/token\",service=\"reg\","               \
    "error=\"insufficient_scope\",scope=\"repository(plugin):x/y:pull\"\r\n"

static void a_scope_that_was_too_small_is_asked_for_as_told_once(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
        {"GET /token", "scope=repository:x/y:pull ", NULL, TOKEN("t1"), false, false},
        {BLOB, "Bearer t1", NULL, STATUS("401 U", WIDER), false, false},
        {"GET /token", "scope=repository%28plugin%29:x/y:pull ", NULL, TOKEN("t2"), false, false},
        {BLOB, "Bearer t2", NULL, OK("2\r\n\r\nok"), false, false},
        {"GET /token", "scope=repository:x/y:pull ", NULL, TOKEN("t3"), false, false},
        {BLOB, "Bearer t3", NULL, STATUS("401 U", WIDER), false, false},
        {BLOB, "Bearer t2", NULL, STATUS("401 U", WIDER), false, false},
        LAST};
    (void)state;
    begin(steps);
    ask(NULL, ERR_NONE, 200, "ok");
    ask(NULL, ERR_NAME_UNKNOWN, 401, "");
    end();
}

static void a_token_service_may_redirect_but_not_with_the_password(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
        {"GET /token?", NULL, NULL, STATUS("307 T", "Location: /new?a=b\r\n"), false, false},
        {"GET /new?a=b ", NULL, NULL, STATUS("302 F", "Location: http://localhost:<B>/t\r\n"),
         false, false},
        {"GET /t ", NULL, "Authorization", TOKEN("t1"), false, false},
        {BLOB, "Bearer t1", NULL, OK("2\r\n\r\nok"), false, false},
        {"GET /token?", "Authorization: Basic", NULL,
         STATUS("302 F", "Location: http://localhost:<B>/t?secret\r\n"), false, false},
        LAST};
    (void)state;
    begin(steps);
    ask(NULL, ERR_NONE, 200, "ok");
    source.username = (char[]){"me"};
    source.password = (char[]){"pw"};
    struct error why = ask(NULL, ERR_UPSTREAM, 0, "");
    assert_non_null(strstr(why.text, "may not see the password"));
    assert_null(strstr(why.text, "secret"));
    end();
}

struct forgetting {
    struct call call; /* first */
    bool is_newer_kept, is_same_gone;
    sem_t is_done;
};

static void forget(struct call *call)
{
    struct forgetting *g = (struct forgetting *)call;
    struct challenge c = {.scheme = CHALLENGE_BEARER, .realm = "http://r/t", .service = "s"};
    struct token_key k = {c.realm, c.service, "x", ""};
    tokens_put(fetcher_tokens(fetcher), &k, "t2", 300, clock_mono_ms());
    authorization_forget(fetcher, &source, &c, false, "x", "t1");
    g->is_newer_kept = tokens_get(fetcher_tokens(fetcher), &k, clock_mono_ms()) != NULL;
    authorization_forget(fetcher, &source, &c, false, "x", "t2");
    g->is_same_gone = tokens_get(fetcher_tokens(fetcher), &k, clock_mono_ms()) == NULL;
    sem_post(&g->is_done);
}

static void a_late_refusal_of_an_old_token_keeps_the_new_one(void **state)
{
    struct scripted_step steps[] = {LAST};
    struct forgetting g = {.call.run = forget};
    (void)state;
    begin(steps);
    sem_init(&g.is_done, 0, 0);
    assert_true(fetcher_post(fetcher, &g.call));
    sem_wait(&g.is_done);
    sem_destroy(&g.is_done);
    assert_true(g.is_newer_kept);
    assert_true(g.is_same_gone);
    end();
}

/* --- redirects -------------------------------------------------------------------------------- */

static void a_redirect_keeps_the_range_and_leaves_the_token_behind(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
        {"GET /token", NULL, NULL, TOKEN("t1"), false, false},
        {BLOB, "Bearer t1", NULL, STATUS("307 T", "Location: ../uploads/e?x=1\r\n"), false, false},
        {"GET /v2/x/y/uploads/e?x=1 ", "Bearer t1", NULL,
         STATUS("302 F", "Location: http://127.0.0.1:<B>/cdn?sig=1\r\n"), false, false},
        {"GET /cdn?sig=1 ", "Range: bytes=1-3\r\n", "Authorization",
         STATUS("308 P", "Location: /cdn2\r\n"), false, false},
        {"GET /cdn2 ", "Accept: a/b\r\n", "Authorization",
         "HTTP/1.1 206 P\r\nConnection: close\r\nContent-Range: bytes 1-3/5\r\nContent-Length: "
         "3\r\n\r\nell",
         false, false},
        LAST};
    (void)state;
    begin(steps);
    ask(
        &(struct exchange_request){
            .accept = "a/b", .has_range = true, .range_first = 1, .range_last = 3},
        ERR_NONE, 206, "ell");
    end();
}

static void a_redirect_that_leads_nowhere_is_an_upstream_error(void **state)
{
    static const char *const bad[] = {
        STATUS("301 M", ""), STATUS("302 F", "Location: ftp://127.0.0.1/x\r\n"),
        STATUS("303 S", "Location: http://user:pw@127.0.0.1:<B>/x\r\n"),
        STATUS("307 T", "Location: file:///etc/passwd\r\n")};
    struct scripted_step steps[5 + 11] = {0};
    (void)state;
    for (int i = 0; i < 4; i++)
        steps[i] = (struct scripted_step){.begins = BLOB, .answer = bad[i]};
    for (int i = 4; i < 15; i++)
        steps[i] = (struct scripted_step){
            .begins = BLOB, .answer = STATUS("302 F", "Location: /v2/x/y/blobs/d\r\n")};
    begin(steps);
    for (int i = 0; i < 4; i++)
        assert_non_null(strstr(ask(NULL, ERR_UPSTREAM,
                                   i == 0   ? 301
                                   : i == 1 ? 302
                                   : i == 2 ? 303
                                            : 307,
                                   "")
                                   .text,
                               "redirect"));
    assert_non_null(strstr(ask(NULL, ERR_UPSTREAM, 302, "").text, "too many redirects"));
    end();
}

static void a_foreign_host_with_a_realm_gets_an_anonymous_token(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL, STATUS("302 F", "Location: http://127.0.0.1:<B>/cdn\r\n"), false, false},
        {"GET /cdn ", NULL, "Authorization",
         STATUS("401 U",
                "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:<B>/t\",service=\"c\"\r\n"),
         false, false},
        {"GET /t?", NULL, "Authorization", TOKEN("cdn"), false, false},
        {"GET /cdn ", "Bearer cdn", NULL, OK("2\r\n\r\nok"), false, false},
        LAST};
    (void)state;
    begin(steps);
    source.username = (char[]){"me"};
    source.password = (char[]){"pw"};
    ask(NULL, ERR_NONE, 200, "ok");
    assert_int_equal(source.challenge.scheme, CHALLENGE_NONE);
    end();
}

/* --- words of others -------------------------------------------------------------------------- */

static void a_refusal_counts_only_when_a_registry_says_it(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL, STATUS("403 F", "Content-Type: text/html\r\n"), false, false},
        {BLOB, NULL, NULL,
         "HTTP/1.1 403 F\r\nConnection: close\r\nContent-Type: text/html\r\n\r\n"
         "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\"}]}",
         false, false},
        {BLOB, NULL, NULL, STATUS("307 T", "Location: http://127.0.0.1:<B>/old\r\n"), false, false},
        {"GET /old ", NULL, NULL, STATUS("403 F", "Content-Type: application/xml\r\n"), false,
         false},
        {BLOB, NULL, NULL, STATUS("307 T", "Location: http://127.0.0.1:<B>/k8s\r\n"), false, false},
        {"GET /k8s ", NULL, NULL, STATUS("403 F", "Content-Type: application/json\r\n"), false,
         false},
        LAST};
    (void)state;
    begin(steps);
    assert_int_equal(ask(NULL, ERR_UPSTREAM, 403, "").upstream_status, 403);
    ask(NULL, ERR_NAME_UNKNOWN, 403, "");
    ask(NULL, ERR_UPSTREAM, 403, "");
    ask(NULL, ERR_NAME_UNKNOWN, 403, "");
    end();
}

static void a_page_that_calls_itself_an_answer_is_passed_up(void **state)
{
    struct scripted_step steps[] = {
        {BLOB, NULL, NULL, OK("6\r\nContent-Type: text/html\r\n\r\n<html>"), false, false}, LAST};
    (void)state;
    begin(steps);
    ask(NULL, ERR_NONE, 200, "<html>");
    end();
}

int main(void)
{
    static const char *const proxies[] = {"http_proxy",  "HTTP_PROXY", "https_proxy",
                                          "HTTPS_PROXY", "all_proxy",  "ALL_PROXY"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_public_answer_comes_whole_and_says_who_asks),
        cmocka_unit_test(a_head_has_no_body_and_a_range_is_passed_on),
        cmocka_unit_test(every_refusal_has_its_kind),
        cmocka_unit_test(an_error_tells_the_upstreams_message_but_no_query),
        cmocka_unit_test(a_long_error_page_keeps_its_status),
        cmocka_unit_test(what_is_packed_cut_or_endless_is_an_upstream_error),
        cmocka_unit_test(a_401_gets_a_token_of_our_scope_and_the_next_asks_with_it_at_once),
        cmocka_unit_test(many_wait_for_one_token),
        cmocka_unit_test(a_refused_token_is_renewed_once_and_no_more),
        cmocka_unit_test(a_401_without_a_challenge_is_explained_by_the_base),
        cmocka_unit_test(a_token_service_that_refuses_has_its_kinds),
        cmocka_unit_test(a_token_service_without_get_is_asked_by_a_form),
        cmocka_unit_test(credentials_go_to_no_foreign_realm),
        cmocka_unit_test(basic_is_sent_when_asked_for_and_its_refusal_is_told),
        cmocka_unit_test(a_redirect_keeps_the_range_and_leaves_the_token_behind),
        cmocka_unit_test(a_redirect_that_leads_nowhere_is_an_upstream_error),
        cmocka_unit_test(a_foreign_host_with_a_realm_gets_an_anonymous_token),
        cmocka_unit_test(a_scope_that_was_too_small_is_asked_for_as_told_once),
        cmocka_unit_test(a_token_service_may_redirect_but_not_with_the_password),
        cmocka_unit_test(a_late_refusal_of_an_old_token_keeps_the_new_one),
        cmocka_unit_test(a_refusal_counts_only_when_a_registry_says_it),
        cmocka_unit_test(a_page_that_calls_itself_an_answer_is_passed_up),
    };
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++)
        unsetenv(proxies[i]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
