/* SPDX-License-Identifier: Apache-2.0
 * Commands of who is on this machine: POST /control/<verb>, at the local door and nowhere else. A
 * verb's handler reads the request's body, and queues an answer or suspends, as every handler. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json_write.h"
#include "base/str.h"
#include "cache/removal.h"
#include "cache/verify.h"
#include "mirror/mirror.h"
#include "mirror/work.h"
#include "oci/digest.h"
#include "serve/reply.h"
#include "serve/request.h"

/* The main thread hears it as an operator's SIGHUP, and tells in the log what came of it. */
static enum MHD_Result reload(struct request *r)
{
    struct str body = {0};
    kill(getpid(), SIGHUP);
    str_add(&body, "{\"accepted\":true}");
    return reply_text(r, 202, "application/json", &body);
}

/* The body is the digest of a blob that `tranship verify` found wrong: it is looked at again, and
 * set aside if that is so. */
static enum MHD_Result recheck(struct request *r)
{
    struct str body = {0};
    struct digest d;
    struct error e;
    struct slice text = {str_text(&r->body), r->body.length};
    if (!r->answer && digest_parse(text, &d) != 1) {
        error_set(&e, ERR_DIGEST_INVALID, "this command takes a digest");
        return reply_error(r, &e);
    }
    if (!r->answer)
        r->answer = mirror_recheck(r->desk->mirror, &d);
    if (request_await_answer(r))
        return MHD_YES;
    if (r->answer->kind == ANSWER_ERROR)
        return reply_error(r, &r->answer->error);
    str_format(&body, "{\"verdict\":%s}", r->answer->items);
    return reply_text(r, 200, "application/json", &body);
}

/* The body names what `tranship import` has verified and staged; it becomes held. " prune" after
 * it: all else goes. */
static enum MHD_Result import(struct request *r)
{
    struct str body = {0};
    struct slice id = {str_text(&r->body), r->body.length}, rest;
    if (!r->answer) {
        bool is_pruning = slice_cut(id, ' ', &id, &rest) && slice_equals(rest, "prune");
        r->answer = mirror_admit(r->desk->mirror, id, is_pruning);
    }
    if (request_await_answer(r))
        return MHD_YES;
    if (r->answer->kind == ANSWER_ERROR)
        return reply_error(r, &r->answer->error);
    json_write_open(&body, NULL, '{');
    json_write_bool(&body, "done", true);
    json_write_number(&body, "pruned_tags", (int64_t)r->answer->pruned.tags);
    json_write_number(&body, "pruned_blobs", (int64_t)r->answer->pruned.blobs);
    json_write_number(&body, "pruned_bytes", (int64_t)r->answer->pruned.bytes);
    json_write_close(&body, '}');
    return reply_text(r, 200, "application/json", &body);
}

static struct slice body_of(const struct request *r)
{
    return (struct slice){str_text(&r->body), r->body.length};
}

/* What the ledger did. */
static enum MHD_Result report(struct request *r)
{
    struct str body = {0};
    if (request_await_answer(r))
        return MHD_YES;
    if (r->answer->kind == ANSWER_ERROR)
        return reply_error(r, &r->answer->error);
    str_add(&body, r->answer->items);
    return reply_text(r, 200, "application/json", &body);
}

static enum MHD_Result evict(struct request *r)
{
    if (!r->answer)
        r->answer = work_evict(r->desk->mirror, body_of(r));
    return report(r);
}

static const struct verb {
    const char *name;
    enum MHD_Result (*handle)(struct request *r);
    keep_work work; /* or what the ledger does with the body */
} verbs[] = {
    {"agree", NULL, verify_agree}, {"evict", evict, NULL},         {"fetch", collect_fetch, NULL},
    {"import", import, NULL},      {"pin", NULL, keep_pin},        {"recheck", recheck, NULL},
    {"reload", reload, NULL},      {"remove", NULL, removal_work}, {"settle", collect_settle, NULL},
    {"unpin", NULL, keep_unpin},
};

static const struct verb *find(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static enum MHD_Result work(struct request *r, const struct verb *v)
{
    if (!r->answer)
        r->answer = work_begin(r->desk->mirror, v->name, v->work, body_of(r));
    return report(r);
}

enum MHD_Result control_handle(struct request *r)
{
    struct error e;
    const struct verb *v = r->desk->is_local ? find(r->route.verb) : NULL;
    if (!v)
        error_set(&e, ERR_NOT_FOUND, "there is nothing at this path");
    else if (!r->takes_body)
        error_set(&e, ERR_UNSUPPORTED, "commands are POSTed");
    else if (r->is_too_large)
        error_set(&e, ERR_USAGE, "a command of more than 1 MiB");
    else
        return v->work ? work(r, v) : v->handle(r);
    return reply_error(r, &e);
}
