/* SPDX-License-Identifier: Apache-2.0
 * The socket is reached through the folder's descriptor: a path of any length fits that way. A
 * request that is answered keeps its connection for the next. */
#include "fetch/local.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "cache/store.h"
#include "oci/problem.h"

enum { ANSWER_MAX_BYTES = 64 << 20 };

/* One question on its way. */
struct talk {
    LIST_ENTRY(talk) next;
    CURL *easy;
    struct curl_slist *headers;
    char *data; /* for what is told */
    struct local_answer answer;
    local_done done;
    void *cls;
};

struct local_line {
    CURLM *multi;
    char *data;
    int folder;
    unsigned count;
    LIST_HEAD(, talk) talks;
};

static size_t take_body(char *bytes, size_t size, size_t count, void *cls)
{
    struct str *body = &((struct talk *)cls)->answer.body;
    if (body->length + size * count > ANSWER_MAX_BYTES)
        return 0;
    str_add_bytes(body, bytes, size * count);
    return size * count;
}

static size_t take_header(char *bytes, size_t size, size_t count, void *cls)
{
    struct local_answer *a = &((struct talk *)cls)->answer;
    struct slice line = {bytes, size * count}, name, value;
    const struct {
        const char *name;
        char *to;
        size_t room;
    } wanted[] = {{"Cache-Status", a->cache, sizeof a->cache},
                  {"Content-Type", a->type, sizeof a->type},
                  {"Docker-Content-Digest", a->digest, sizeof a->digest}};
    if (!slice_cut(line, ':', &name, &value))
        return size * count;
    while (value.length > 0 && (unsigned char)value.at[value.length - 1] <= ' ')
        value.length--;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (slice_equals_nocase(name, wanted[i].name))
            slice_copy(slice_trim(value), wanted[i].to, wanted[i].room);
    return size * count;
}

static void prepare(struct talk *t, const struct local_request *r, int folder)
{
    char door[64];
    CURL *easy = t->easy;
    autofree char *url = alloc_format("http://localhost%s", r->path);
    snprintf(door, sizeof door, "/proc/self/fd/%d/" STORE_DOOR, folder);
    t->headers = curl_slist_append(NULL, "Expect:");
    t->headers = curl_slist_append(t->headers, "Content-Type: application/json");
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, door);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(easy, CURLOPT_NOBODY, r->is_head ? 1L : 0L);
    if (!r->body)
        return;
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(r->body));
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, r->body);
}

static struct talk *talk_new(const struct local_request *r, int folder)
{
    struct talk *t = alloc_zero(sizeof *t);
    t->easy = curl_easy_init();
    t->data = alloc_string(r->data);
    if (t->easy)
        prepare(t, r, folder);
    return t;
}

static void talk_free(struct talk *t)
{
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    str_fini(&t->answer.body);
    free(t->data);
    free(t);
}

/* What kept libcurl from an answer: 0 if there is nobody to give one. */
static int explain(const struct talk *t, CURLcode code, struct error *e)
{
    long reason = 0;
    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &reason);
    if (code == CURLE_COULDNT_CONNECT && (reason == ECONNREFUSED || reason == ENOENT))
        return 0;
    if (code == CURLE_COULDNT_CONNECT && (reason == EACCES || reason == EPERM))
        return error_set(e, ERR_DENIED,
                         "the server on %s answers its own user and root alone; try sudo", t->data);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return error_set(e, ERR_TIMEOUT, "the server on %s gives no answer", t->data);
    return error_set(e, ERR_IO, "ask the server on %s: %s", t->data, curl_easy_strerror(code));
}

static int talk_result(struct talk *t, CURLcode code, struct error *e)
{
    long status = 0;
    if (code != CURLE_OK)
        return explain(t, code, e);
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    t->answer.status = (int)status;
    return 1;
}

int local_ask(const struct local_request *r, struct local_answer *out, struct error *e)
{
    autoclose int folder = open(r->data, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return errno == ENOENT ? 0 : error_errno(e, "open %s", r->data);
    struct talk *t = talk_new(r, folder);
    int result = t->easy ? talk_result(t, curl_easy_perform(t->easy), e)
                         : error_set(e, ERR_INTERNAL, "libcurl does not start");
    if (result == 1) {
        *out = t->answer;
        t->answer.body = (struct str){0};
    }
    talk_free(t);
    return result;
}

int local_problem(const struct local_answer *a, struct error *e)
{
    static const struct {
        int status;
        enum error_kind kind;
    } kinds[] = {{400, ERR_USAGE},     {401, ERR_UNAUTHORIZED}, {403, ERR_DENIED},
                 {404, ERR_NOT_FOUND}, {503, ERR_BUSY},         {504, ERR_TIMEOUT}};
    char code[64] = "", message[256] = "";
    enum error_kind kind = ERR_UPSTREAM;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (kinds[k].status == a->status)
            kind = kinds[k].kind;
    problem_read(str_text(&a->body), a->body.length, code, sizeof code, message, sizeof message);
    if (strcmp(code, "TOOMANYREQUESTS") == 0)
        kind = ERR_LIMITED;
    if (message[0])
        return error_set(e, kind, "%s", message);
    return error_set(e, kind, "the mirror answers with status %d", a->status);
}

/* --- many at once ----------------------------------------------------------------------------- */

struct local_line *local_line_open(const char *data, struct error *e)
{
    autoclose int folder = open(data, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        error_errno(e, "open %s", data);
        return NULL;
    }
    struct local_line *l = alloc_zero(sizeof *l);
    l->multi = curl_multi_init();
    l->data = alloc_string(data);
    l->folder = take_fd(folder);
    LIST_INIT(&l->talks);
    return l;
}

static void hang_up(struct local_line *l, struct talk *t)
{
    LIST_REMOVE(t, next);
    l->count--;
    curl_multi_remove_handle(l->multi, t->easy);
    talk_free(t);
}

void local_line_close(struct local_line *l)
{
    struct talk *next;
    for (struct talk *t = LIST_FIRST(&l->talks); t; t = next) {
        next = LIST_NEXT(t, next);
        hang_up(l, t);
    }
    curl_multi_cleanup(l->multi);
    close(l->folder);
    free(l->data);
    free(l);
}

void local_line_ask(struct local_line *l, const struct local_request *r, local_done done, void *cls)
{
    struct local_request own = *r;
    own.data = l->data;
    struct talk *t = talk_new(&own, l->folder);
    assert(t->easy);
    t->done = done;
    t->cls = cls;
    LIST_INSERT_HEAD(&l->talks, t, next);
    l->count++;
    curl_multi_add_handle(l->multi, t->easy);
}

unsigned local_line_run(struct local_line *l, int ms)
{
    int running, left;
    CURLMsg *said;
    curl_multi_perform(l->multi, &running);
    if ((unsigned)running == l->count)
        curl_multi_poll(l->multi, NULL, 0, ms, NULL);
    curl_multi_perform(l->multi, &running);
    while ((said = curl_multi_info_read(l->multi, &left))) {
        struct error e = {0};
        struct talk *t = NULL;
        if (said->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(said->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        int got = talk_result(t, said->data.result, &e);
        t->done(t->cls, got, &t->answer, &e);
        hang_up(l, t);
    }
    return l->count;
}
