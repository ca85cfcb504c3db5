/* SPDX-License-Identifier: Apache-2.0
 * The socket is reached through the folder's descriptor: a path of any length fits that way. */
#include "fetch/local.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "cache/store.h"

enum { ANSWER_MAX_BYTES = 64 << 20 };

static size_t take_body(char *bytes, size_t size, size_t count, void *cls)
{
    struct str *body = cls;
    if (body->length + size * count > ANSWER_MAX_BYTES)
        return 0;
    str_add_bytes(body, bytes, size * count);
    return size * count;
}

static void prepare(CURL *easy, const struct local_request *r, const char *door, struct str *body)
{
    autofree char *url = NULL;
    struct str text = {0};
    str_format(&text, "http://localhost%s", r->path);
    url = str_take(&text);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, door);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    if (!r->body)
        return;
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(r->body));
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, r->body);
}

/* What kept libcurl from an answer: 0 if there is nobody to give one. */
static int explain(CURL *easy, CURLcode code, const struct local_request *r, struct error *e)
{
    long reason = 0;
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &reason);
    if (code == CURLE_COULDNT_CONNECT && (reason == ECONNREFUSED || reason == ENOENT))
        return 0;
    if (code == CURLE_COULDNT_CONNECT && (reason == EACCES || reason == EPERM))
        return error_set(e, ERR_DENIED,
                         "the server on %s answers its own user and root alone; try sudo", r->data);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return error_set(e, ERR_TIMEOUT, "the server on %s gives no answer", r->data);
    return error_set(e, ERR_IO, "ask the server on %s: %s", r->data, curl_easy_strerror(code));
}

static int exchange(CURL *easy, const struct local_request *r, const char *door,
                    struct local_answer *out, struct error *e)
{
    autostr struct str body = {0};
    long status = 0;
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    headers = curl_slist_append(headers, "Content-Type: application/json");
    prepare(easy, r, door, &body);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    CURLcode code = curl_easy_perform(easy);
    curl_slist_free_all(headers);
    if (code != CURLE_OK)
        return explain(easy, code, r, e);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    out->status = (int)status;
    out->body = (struct str){.text = body.text, .length = body.length, .room = body.room};
    body = (struct str){0};
    return 1;
}

int local_ask(const struct local_request *r, struct local_answer *out, struct error *e)
{
    char door[64];
    autoclose int folder = open(r->data, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return errno == ENOENT ? 0 : error_errno(e, "open %s", r->data);
    snprintf(door, sizeof door, "/proc/self/fd/%d/" STORE_DOOR, folder);
    CURL *easy = curl_easy_init();
    if (!easy)
        return error_set(e, ERR_INTERNAL, "libcurl does not start");
    int result = exchange(easy, r, door, out, e);
    curl_easy_cleanup(easy);
    return result;
}
