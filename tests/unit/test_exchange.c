/* SPDX-License-Identifier: Apache-2.0
 * Exchanges with a scripted registry: tokens, redirects, refusals, time-outs. Its upstream is
 * 127.0.0.1; "localhost" is a foreign host to it. */
#include "asking.h"

#include "base/alloc.h"

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
    struct scripted_step steps[] = {
        {"GET /v2/x/y/blobs/first ", NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
        {"GET /token", NULL, NULL, STATUS("503 U", ""), false, false},
        {"GET /token", NULL, NULL, TOKEN("t1"), false, false},
        {BLOB, "Bearer t1", NULL, OK("2\r\n\r\nok"), false, false},
        {BLOB, "Bearer t1", NULL, OK("2\r\n\r\nok"), false, false},
        {BLOB, "Bearer t1", NULL, OK("2\r\n\r\nok"), false, false},
        LAST};
    struct question q[3];
    (void)state;
    begin(steps);
    ask(&(struct exchange_request){.path = "/v2/x/y/blobs/first"}, ERR_UPSTREAM, 0, "");
    for (int i = 0; i < 3; i++)
        send_off(&q[i], &(struct exchange_request){0});
    for (int i = 0; i < 3; i++)
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
    struct scripted_step steps[] = {{BLOB, NULL, NULL, STATUS("401 U", CHALLENGE), false, false},
                                    {"GET /token", NULL, NULL, STATUS("403 F", ""), false, false},
                                    {"GET /token", NULL, NULL, STATUS("502 B", ""), false, false},
                                    {"GET /token", NULL, NULL, OK("2\r\n\r\n{}"), false, false},
                                    {"GET /token", "Authorization: Basic bWU6cHc=\r\n", NULL,
                                     STATUS("401 U", ""), false, false},
                                    LAST};
    (void)state;
    begin(steps);
    ask(NULL, ERR_NAME_UNKNOWN, 0, "");
    ask(NULL, ERR_UPSTREAM, 0, "");
    ask(NULL, ERR_UPSTREAM, 0, "");
    upstream.username = (char[]){"me"};
    upstream.password = (char[]){"pw"};
    struct error why = ask(NULL, ERR_CREDENTIALS, 0, "");
    assert_non_null(strstr(why.text, upstream.url));
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
    upstream.username = (char[]){"me"};
    upstream.password = (char[]){"p&w"};
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
    upstream.username = (char[]){"me"};
    upstream.password = (char[]){"pw"};
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
    upstream.username = (char[]){"me"};
    upstream.password = (char[]){"pw"};
    ask(NULL, ERR_NONE, 200, "ok");
    ask(NULL, ERR_CREDENTIALS, 401, "");
    upstream.username = NULL;
    ask(NULL, ERR_NAME_UNKNOWN, 401, "");
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
    upstream.username = (char[]){"me"};
    upstream.password = (char[]){"pw"};
    ask(NULL, ERR_NONE, 200, "ok");
    assert_int_equal(upstream.challenge.scheme, CHALLENGE_NONE);
    end();
}

/* --- transfers -------------------------------------------------------------------------------- */

struct raw {
    struct call call; /* first */
    struct transfer_request request;
    struct error why;
    sem_t is_done;
};

static void raw_done(void *cls, const struct head *head, const struct error *why)
{
    struct raw *r = cls;
    (void)head;
    if (why)
        r->why = *why;
    sem_post(&r->is_done);
}

static void raw_run(struct call *c)
{
    struct raw *r = (struct raw *)c;
    struct error e;
    if (!transfer_start(fetcher, &r->request, &e))
        raw_done(r, NULL, &e);
}

static struct error raw_ask(const char *url, bool public_only, bool plain_allowed)
{
    struct raw r = {.call.run = raw_run};
    r.request = (struct transfer_request){.url = url,
                                          .public_only = public_only,
                                          .plain_http_allowed = plain_allowed,
                                          .on_done = raw_done,
                                          .cls = &r};
    sem_init(&r.is_done, 0, 0);
    assert_true(fetcher_post(fetcher, &r.call));
    sem_wait(&r.is_done);
    sem_destroy(&r.is_done);
    return r.why;
}

static void a_private_address_is_refused_and_so_is_plain_http(void **state)
{
    struct scripted_step steps[] = {
        {"GET /open", NULL, NULL, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, false},
        LAST};
    (void)state;
    begin(steps);
    char *url = alloc_format("http://localhost:%u/x?sig=1", server.ports[1]);
    struct error why = raw_ask(url, true, true);
    assert_int_equal(why.kind, ERR_UPSTREAM);
    assert_non_null(strstr(why.text, "private address"));
    assert_null(strstr(why.text, "sig"));
    free(url);
    url = alloc_format("http://127.0.0.1:%u/open", server.ports[0]);
    assert_int_equal(raw_ask(url, false, true).kind, ERR_NONE);
    assert_int_equal(raw_ask(url, false, false).kind, ERR_UPSTREAM);
    free(url);
    end();
}

static void silence_is_a_time_out_before_and_after_the_headers(void **state)
{
    struct scripted_step steps[] = {{BLOB, NULL, NULL, NULL, true, false},
                                    {BLOB, NULL, NULL, OK("9\r\n\r\nhello"), true, false},
                                    LAST};
    (void)state;
    begin_with(steps, (struct fetcher_options){.connect_timeout_ms = 100,
                                               .header_timeout_ms = 100,
                                               .stall_timeout_ms = 50,
                                               .max_transfers = 8,
                                               .max_per_host = 8});
    ask(NULL, ERR_TIMEOUT, 0, "");
    ask(NULL, ERR_TIMEOUT, 200, "hello");
    end();
}

static void who_waits_for_a_connection_does_not_lose_its_time(void **state)
{
    struct scripted_step steps[] = {{BLOB, NULL, NULL, NULL, true, false},
                                    {BLOB, NULL, NULL, NULL, true, false},
                                    {BLOB, NULL, NULL, OK("2\r\n\r\nok"), false, false},
                                    LAST};
    struct question q[3];
    (void)state;
    begin_with(steps, (struct fetcher_options){.connect_timeout_ms = 100,
                                               .header_timeout_ms = 100,
                                               .stall_timeout_ms = 5000,
                                               .max_transfers = 8,
                                               .max_per_host = 1});
    for (int i = 0; i < 3; i++)
        send_off(&q[i], &(struct exchange_request){0});
    expect(&q[0], ERR_TIMEOUT, 0, "");
    expect(&q[1], ERR_TIMEOUT, 0, "");
    expect(&q[2], ERR_NONE, 200, "ok");
    assert_true(q[1].ended_ms - q[0].ended_ms >= 200);
    end();
}

static void stopping_ends_all_that_runs_waits_or_comes_late(void **state)
{
    struct scripted_step steps[] = {{BLOB, NULL, NULL, NULL, true, false}, LAST};
    struct question q[4];
    (void)state;
    begin_with(steps, (struct fetcher_options){.connect_timeout_ms = 60000,
                                               .header_timeout_ms = 60000,
                                               .stall_timeout_ms = 60000,
                                               .max_transfers = 1,
                                               .max_per_host = 1});
    for (int i = 0; i < 4; i++)
        send_off(&q[i], &(struct exchange_request){0});
    while (!__atomic_load_n(&server.held_count, __ATOMIC_ACQUIRE))
        sched_yield();
    fetcher_stop(fetcher);
    fetcher = NULL;
    for (int i = 0; i < 4; i++)
        expect(&q[i], ERR_STOPPING, 0, "");
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
        cmocka_unit_test(a_private_address_is_refused_and_so_is_plain_http),
        cmocka_unit_test(silence_is_a_time_out_before_and_after_the_headers),
        cmocka_unit_test(who_waits_for_a_connection_does_not_lose_its_time),
        cmocka_unit_test(stopping_ends_all_that_runs_waits_or_comes_late),
    };
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++)
        unsetenv(proxies[i]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
