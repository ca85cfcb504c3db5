/* SPDX-License-Identifier: Apache-2.0
 * Whose word counts: manifests asked of a scripted mirror (A) and a scripted origin (B). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <semaphore.h>

#include "base/error.h"
#include "fetch/fetcher.h"
#include "fetch/pull.h"
#include "scripted.h"
#include "upstream/upstream.h"

#define HEAD "HEAD /v2/x/y/manifests/"
#define AT_A "Host: 127.0.0.1:<A>"
#define AT_B "Host: 127.0.0.1:<B>"
#define DIGEST "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define TOLD                                                                                       \
    "HTTP/1.1 200 OK\r\nConnection: close\r\nDocker-Content-Digest: " DIGEST                       \
    "\r\nContent-Length: 7\r\n\r\n"
#define STATUS(status) "HTTP/1.1 " status "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
#define STEP(at, answer)                                                                           \
    {                                                                                              \
        HEAD, at, NULL, answer, false, false                                                       \
    }
#define LAST                                                                                       \
    {                                                                                              \
        .begins = NULL                                                                             \
    }

static struct scripted server;
static struct fetcher *fetcher;
static struct upstreams *all;

struct question {
    struct call call; /* first */
    struct manifest_request request;
    sem_t is_done;
    struct error why;
    bool is_confirmed;
};

static void begin(struct scripted_step *steps, bool resolves_anywhere)
{
    struct error e;
    char mirror[64], origin[64];
    char *mirrors[] = {mirror, NULL};
    scripted_start(&server, steps);
    snprintf(mirror, sizeof mirror, "http://127.0.0.1:%u", server.ports[0]);
    snprintf(origin, sizeof origin, "http://127.0.0.1:%u", server.ports[1]);
    const struct upstream_options o = {.registry = "docker.io",
                                       .origin = origin,
                                       .mirrors = mirrors,
                                       .resolves_anywhere = resolves_anywhere,
                                       .tag_ttl_ms = -1};
    all = upstreams_new();
    assert_int_equal(upstreams_add(all, &o, &e), 0);
    fetcher = fetcher_start(&(struct fetcher_options){.connect_timeout_ms = 5000,
                                                      .header_timeout_ms = 20000,
                                                      .stall_timeout_ms = 20000,
                                                      .max_transfers = 8,
                                                      .max_per_host = 8,
                                                      .user_agent = "tranship/test"},
                            &e);
    assert_non_null(fetcher);
}

static void end(void)
{
    fetcher_stop(fetcher);
    upstreams_free(all);
    const char *wrong = scripted_stop(&server);
    if (wrong)
        fail_msg("%s", wrong);
}

static void done(void *cls, const struct pulled *p, const struct error *why)
{
    struct question *q = cls;
    if (why)
        q->why = *why;
    else
        q->is_confirmed = p->is_confirmed;
    sem_post(&q->is_done);
}

static void run(struct call *c)
{
    struct question *q = (struct question *)c;
    pull_manifest(fetcher, &q->request, done, q);
}

static struct question ask(struct manifest_request r)
{
    struct question q = {.call.run = run};
    sem_init(&q.is_done, 0, 0);
    r.upstream = upstreams_default(all);
    r.repository = "x/y";
    r.is_head = true;
    q.request = r;
    assert_true(fetcher_post(fetcher, &q.call));
    sem_wait(&q.is_done);
    sem_destroy(&q.is_done);
    return q;
}

static struct question ask_for(const char *reference)
{
    return ask((struct manifest_request){.reference = reference});
}

static void a_tag_is_asked_of_the_origin(void **state)
{
    struct scripted_step steps[] = {STEP(AT_B, TOLD), LAST};
    (void)state;
    begin(steps, false);
    struct question q = ask_for("v1");
    assert_int_equal(q.why.kind, ERR_NONE);
    assert_true(q.is_confirmed);
    end();
}

static void a_tag_that_may_be_asked_anywhere_is_asked_of_the_mirror(void **state)
{
    struct scripted_step steps[] = {STEP(AT_A, TOLD), STEP(AT_A, STATUS("404 No")),
                                    STEP(AT_B, TOLD), LAST};
    (void)state;
    begin(steps, true);
    assert_true(ask_for("v1").is_confirmed);
    assert_true(ask_for("v2").is_confirmed);
    end();
}

static void a_mirror_tells_a_tag_when_the_origin_fails_and_is_not_its_word(void **state)
{
    struct scripted_step steps[] = {STEP(AT_B, STATUS("503 Down")), STEP(AT_A, TOLD),
                                    STEP(AT_A, TOLD), LAST};
    (void)state;
    begin(steps, false);
    struct question q = ask_for("v1");
    assert_int_equal(q.why.kind, ERR_NONE);
    assert_false(q.is_confirmed);
    assert_false(ask_for("v2").is_confirmed); /* the origin is not asked again so soon */
    end();
}

static void an_origins_404_is_final_and_a_mirrors_is_not(void **state)
{
    struct scripted_step steps[] = {STEP(AT_A, STATUS("404 No")), STEP(AT_B, STATUS("404 No")),
                                    STEP(AT_B, STATUS("404 No")), LAST};
    (void)state;
    begin(steps, false);
    assert_int_equal(ask_for(DIGEST).why.kind, ERR_NOT_FOUND);
    assert_int_equal(ask_for("v1").why.kind, ERR_NOT_FOUND);
    end();
}

static void a_mirrors_404_and_an_outage_of_the_origin_are_an_outage(void **state)
{
    struct scripted_step steps[] = {STEP(AT_A, STATUS("404 No")), STEP(AT_B, STATUS("500 Oops")),
                                    STEP(AT_A, STATUS("404 No")), STEP(AT_B, STATUS("500 Oops")),
                                    LAST};
    (void)state;
    begin(steps, false);
    assert_int_equal(ask_for(DIGEST).why.kind, ERR_UPSTREAM);
    struct question q = ask_for("v1");
    assert_int_equal(q.why.kind, ERR_UPSTREAM);
    assert_int_equal(q.why.upstream_status, 500);
    end();
}

static void a_mirrors_word_on_a_digest_is_good_for_a_head_and_gives_no_right(void **state)
{
    struct scripted_step steps[] = {STEP(AT_A, TOLD), STEP(AT_B, TOLD), LAST};
    (void)state;
    begin(steps, false);
    assert_false(ask_for(DIGEST).is_confirmed);
    assert_true(
        ask((struct manifest_request){.reference = DIGEST, .needs_origin = true}).is_confirmed);
    end();
}

static void who_can_do_without_does_not_wait_for_an_origin_that_is_out(void **state)
{
    struct scripted_step steps[] = {STEP(AT_B, STATUS("500 Oops")), LAST};
    const struct manifest_request r = {
        .reference = "v1", .needs_origin = true, .can_do_without = true};
    (void)state;
    begin(steps, false);
    assert_int_equal(ask(r).why.upstream_status, 500);
    assert_int_equal(ask(r).why.kind, ERR_UPSTREAM); /* without asking */
    end();
}

static void a_silent_mirror_is_joined_by_the_origin_and_then_passed_over(void **state)
{
    struct scripted_step steps[] = {STEP(AT_A, NULL), STEP(AT_B, TOLD), STEP(AT_B, TOLD), LAST};
    (void)state;
    begin(steps, true);
    assert_int_equal(ask_for("v1").why.kind, ERR_NONE);
    assert_int_equal(ask_for("v2").why.kind, ERR_NONE);
    const struct health *h = &upstreams_default(all)->sources[0].health;
    assert_true(h->is_out);
    assert_int_equal(h->why, HEALTH_SLOW);
    assert_int_equal(h->suspicions + h->under_way, 0);
    end();
}

static void a_race_under_way_ends_when_the_fetcher_stops(void **state)
{
    struct scripted_step steps[] = {STEP(AT_A, NULL), LAST};
    struct question q = {.call.run = run};
    (void)state;
    begin(steps, true);
    sem_init(&q.is_done, 0, 0);
    q.request = (struct manifest_request){.upstream = upstreams_default(all),
                                          .repository = "x/y",
                                          .reference = "v1",
                                          .is_head = true};
    assert_true(fetcher_post(fetcher, &q.call));
    while (__atomic_load_n(&server.held_count, __ATOMIC_ACQUIRE) == 0)
        sched_yield();
    end();
    sem_wait(&q.is_done);
    assert_int_equal(q.why.kind, ERR_STOPPING);
    sem_destroy(&q.is_done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tag_is_asked_of_the_origin),
        cmocka_unit_test(a_tag_that_may_be_asked_anywhere_is_asked_of_the_mirror),
        cmocka_unit_test(a_mirror_tells_a_tag_when_the_origin_fails_and_is_not_its_word),
        cmocka_unit_test(an_origins_404_is_final_and_a_mirrors_is_not),
        cmocka_unit_test(a_mirrors_404_and_an_outage_of_the_origin_are_an_outage),
        cmocka_unit_test(a_mirrors_word_on_a_digest_is_good_for_a_head_and_gives_no_right),
        cmocka_unit_test(who_can_do_without_does_not_wait_for_an_origin_that_is_out),
        cmocka_unit_test(a_silent_mirror_is_joined_by_the_origin_and_then_passed_over),
        cmocka_unit_test(a_race_under_way_ends_when_the_fetcher_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
