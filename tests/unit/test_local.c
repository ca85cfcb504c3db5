/* SPDX-License-Identifier: Apache-2.0
 * local: who is behind a data folder's door, if anybody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/error.h"
#include "fetch/local.h"

/* A folder with a socket in it, and the one answer that is given there. */
struct place {
    char folder[64];
    int listener;
    const char *answer; /* NULL: silence */
    char asked[4096];
    pthread_t thread;
};

static void make(struct place *p, const char *answer)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    *p = (struct place){.folder = "/tmp/tranship-test-XXXXXX", .answer = answer};
    assert_non_null(mkdtemp(p->folder));
    snprintf(at.sun_path, sizeof at.sun_path, "%s/tranship.sock", p->folder);
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p->listener, (const struct sockaddr *)&at, sizeof at), 0);
}

static void *serve(void *cls)
{
    struct place *p = cls;
    autoclose int fd = accept(p->listener, NULL, NULL);
    size_t length = 0;
    char last;
    while (!strstr(p->asked, "\r\n\r\n") ||
           (strstr(p->asked, "POST") && !strstr(p->asked, "end."))) {
        ssize_t n = read(fd, p->asked + length, sizeof p->asked - 1 - length);
        if (n <= 0)
            return NULL;
        length += (size_t)n;
    }
    if (p->answer)
        (void)!write(fd, p->answer, strlen(p->answer));
    else
        (void)!read(fd, &last, 1); /* until the client leaves */
    return NULL;
}

static int ask(struct place *p, const char *body, struct local_answer *out, struct error *e)
{
    const struct local_request r = {
        .data = p->folder, .path = "/api/x", .body = body, .timeout_ms = p->answer ? 20000 : 50};
    assert_int_equal(listen(p->listener, 8), 0);
    assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
    int result = local_ask(&r, out, e);
    pthread_join(p->thread, NULL);
    return result;
}

static void remove_place(struct place *p)
{
    char path[128];
    close(p->listener);
    snprintf(path, sizeof path, "%s/tranship.sock", p->folder);
    unlink(path);
    rmdir(p->folder);
}

static int ask_nobody(const char *folder)
{
    struct local_answer a;
    struct error e;
    const struct local_request r = {.data = folder, .path = "/", .timeout_ms = 20000};
    return local_ask(&r, &a, &e);
}

static void no_server_is_a_value(void **state)
{
    struct place p;
    (void)state;
    make(&p, NULL);
    assert_int_equal(ask_nobody(p.folder), 0); /* bound by somebody who does not listen */
    assert_int_equal(ask_nobody("/tmp/tranship-test-no-such-folder"), 0);
    assert_int_equal(ask_nobody("/proc/self"), 0);
    assert_int_equal(ask_nobody("/proc/self/status"), -1);
    remove_place(&p);
}

static void a_question_and_a_command_are_answered(void **state)
{
    struct place p;
    struct local_answer a;
    struct error e;
    (void)state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    make(&p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    assert_int_equal(ask(&p, NULL, &a, &e), 1);
    assert_int_equal(a.status, 200);
    assert_string_equal(str_text(&a.body), "{}");
    assert_memory_equal(p.asked, "GET /api/x HTTP/1.1", 19);
    str_fini(&a.body);
    remove_place(&p);
    make(&p, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(ask(&p, "{\"to\":\"the end.\"}", &a, &e), 1);
    assert_int_equal(a.status, 503);
    assert_memory_equal(p.asked, "POST /api/x HTTP/1.1", 20);
    assert_non_null(strstr(p.asked, "{\"to\":\"the end.\"}"));
    str_fini(&a.body);
    remove_place(&p);
    unsetenv("http_proxy");
}

static void silence_and_a_cut_answer_are_told_apart(void **state)
{
    struct place p;
    struct local_answer a;
    struct error e;
    (void)state;
    make(&p, NULL);
    assert_int_equal(ask(&p, NULL, &a, &e), -1);
    assert_int_equal(e.kind, ERR_TIMEOUT);
    remove_place(&p);
    make(&p, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}");
    assert_int_equal(ask(&p, NULL, &a, &e), -1);
    assert_int_equal(e.kind, ERR_IO);
    remove_place(&p);
}

static void note_answer(void *cls, int got, const struct local_answer *a, const struct error *e)
{
    (void)e;
    struct local_answer *out = cls;
    *out = *a;
    out->status = got == 1 ? a->status : -10 + got;
    out->body = (struct str){0};
}

static void of_many_questions_each_is_told_its_own_answer_and_its_headers(void **state)
{
    struct place p;
    struct error e;
    struct local_answer told[2] = {{.status = 1}, {.status = 1}};
    (void)state;
    make(&p, "HTTP/1.1 404 No\r\nCache-Status:  tranship; hit \r\ncontent-type: text/x\r\n"
             "Docker-Content-Digest: sha256:12\r\nContent-Length: 2\r\n\r\n{}");
    assert_null(local_line_open("/tmp/tranship-test-no-such-folder", &e));
    struct local_line *l = local_line_open(p.folder, &e);
    assert_non_null(l);
    local_line_ask(l, &(struct local_request){.path = "/a"}, note_answer, &told[0]);
    while (local_line_run(l, 1000) > 0)
        ;
    assert_int_equal(told[0].status, -10); /* nobody listens */
    assert_int_equal(listen(p.listener, 8), 0);
    assert_int_equal(pthread_create(&p.thread, NULL, serve, &p), 0);
    local_line_ask(l, &(struct local_request){.path = "/b"}, note_answer, &told[1]);
    while (local_line_run(l, 1000) > 0)
        ;
    pthread_join(p.thread, NULL);
    assert_int_equal(told[1].status, 404);
    assert_string_equal(told[1].cache, "tranship; hit");
    assert_string_equal(told[1].type, "text/x");
    assert_string_equal(told[1].digest, "sha256:12");
    local_line_ask(l, &(struct local_request){.path = "/c"}, note_answer, &told[0]);
    local_line_close(l); /* with one under way */
    assert_int_equal(told[0].status, -10);
    remove_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_server_is_a_value),
        cmocka_unit_test(a_question_and_a_command_are_answered),
        cmocka_unit_test(silence_and_a_cut_answer_are_told_apart),
        cmocka_unit_test(of_many_questions_each_is_told_its_own_answer_and_its_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
