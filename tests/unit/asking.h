/* SPDX-License-Identifier: Apache-2.0
 * Asks a scripted registry through a fetcher of its own and waits for the answer. For one
 * program. */
#ifndef TESTS_ASKING_H
#define TESTS_ASKING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <semaphore.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "fetch/exchange.h"
#include "fetch/fetcher.h"
#include "scripted.h"
#include "upstream/account.h"
#include "upstream/upstream.h"

static struct scripted server;
static struct fetcher *fetcher;
static struct source source;

struct question {
    struct call call; /* first */
    struct exchange_request request;
    sem_t is_done;
    struct error why;
    int status, heads;
    int64_t ended_ms;
    struct str body;
};

static void begin_with(struct scripted_step *steps, struct fetcher_options o)
{
    struct error e;
    scripted_start(&server, steps);
    o.user_agent = "tranship/test";
    fetcher = fetcher_start(&o, &e);
    assert_non_null(fetcher);
    memset(&source, 0, sizeof source);
    snprintf(source.url, sizeof source.url, "http://127.0.0.1:%u", server.ports[0]);
    source.reach = ADDRESS_PRIVATE;
    source.account = account_of("test", source.url, true);
}

static void begin(struct scripted_step *steps)
{
    begin_with(steps, (struct fetcher_options){.connect_timeout_ms = 5000,
                                               .header_timeout_ms = 20000,
                                               .stall_timeout_ms = 20000,
                                               .max_transfers = 8,
                                               .max_per_host = 8});
}

static void end(void)
{
    if (fetcher)
        fetcher_stop(fetcher);
    fetcher = NULL;
    const char *wrong = scripted_stop(&server);
    if (wrong)
        fail_msg("%s", wrong);
}

static int on_head(void *cls, const struct head *head, struct error *e)
{
    struct question *q = cls;
    (void)e;
    q->status = head->status;
    q->heads++;
    return 0;
}

static int on_body(void *cls, const void *bytes, size_t length, struct error *e)
{
    (void)e;
    str_add_bytes(&((struct question *)cls)->body, bytes, length);
    return 0;
}

static void on_done(void *cls, const struct head *head, const struct error *why)
{
    struct question *q = cls;
    q->status = head->status;
    if (why)
        q->why = *why;
    q->ended_ms = clock_mono_ms();
    sem_post(&q->is_done);
}

static void run_question(struct call *c)
{
    struct question *q = (struct question *)c;
    struct error e;
    if (!exchange_start(fetcher, &q->request, &e))
        on_done(q, &(struct head){0}, &e);
}

static void send_off(struct question *q, const struct exchange_request *r)
{
    memset(q, 0, sizeof *q);
    sem_init(&q->is_done, 0, 0);
    q->request = *r;
    q->request.source = &source;
    q->request.repository = "x/y";
    if (!q->request.path)
        q->request.path = "/v2/x/y/blobs/d";
    q->request.on_head = on_head;
    q->request.on_body = on_body;
    q->request.on_done = on_done;
    q->request.cls = q;
    q->call.run = run_question;
    assert_true(fetcher_post(fetcher, &q->call));
}

static void expect(struct question *q, enum error_kind kind, int status, const char *body)
{
    sem_wait(&q->is_done);
    if (q->why.kind != kind || q->status != status || strcmp(str_text(&q->body), body) != 0)
        fail_msg("%s \"%s\", status %d, body \"%s\"; not %s, %d, \"%s\"", error_name(q->why.kind),
                 q->why.text, q->status, str_text(&q->body), error_name(kind), status, body);
    str_fini(&q->body);
    sem_destroy(&q->is_done);
}

/* One exchange from start to end; why is kept for a closer look. */
static struct error ask(const struct exchange_request *r, enum error_kind kind, int status,
                        const char *body)
{
    struct question q;
    send_off(&q, r ? r : &(struct exchange_request){0});
    expect(&q, kind, status, body);
    return q.why;
}

#endif
