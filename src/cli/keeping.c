/* SPDX-License-Identifier: Apache-2.0
 * Who holds the folder does the work. A server that is just starting holds it and has no door yet,
 * and another command lets go of it soon: both are waited for. */
#include "cli/keeping.h"

#include <time.h>

#include "app/config.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/log.h"
#include "base/owner.h"
#include "cache/index.h"
#include "cache/store.h"
#include "cli/arguments.h"
#include "cli/show.h"
#include "fetch/local.h"
#include "oci/problem.h"
#include "oci/reference.h"

enum {
    PATIENCE_MS = 600 * 1000, /* for the answer: other work may be before it */
    HELD_MS = 15 * 1000,      /* for the folder */
    LOOK_MS = 50
};

/* --- who does it ------------------------------------------------------------------------------ */

int keeping_ask(const char *data, const char *verb, const char *request, struct str *out,
                struct error *e)
{
    autostr struct str path = {0};
    struct local_answer answer = {0};
    str_format(&path, "/control/%s", verb);
    const struct local_request r = {
        .data = data, .path = str_text(&path), .body = request, .timeout_ms = PATIENCE_MS};
    int got = local_ask(&r, &answer, e);
    if (got == 1 && answer.status == 200) {
        str_add_bytes(out, answer.body.text, answer.body.length);
    } else if (got == 1) {
        char code[64] = "", message[256] = "the server on the data folder refused it";
        problem_read(str_text(&answer.body), answer.body.length, code, sizeof code, message,
                     sizeof message);
        got = error_set(e, ERR_IO, "%s", message);
    }
    str_fini(&answer.body);
    return got;
}

/* 1, 0: somebody else has the folder, -1. */
static int do_here(const struct config *c, keep_work work, const struct str *request,
                   struct str *out, struct error *e)
{
    bool rebuilt = false;
    const struct room_limits limits = config_limits(c, c->mode);
    owner_become(c->data);
    struct keep k = {.store = store_open(c->data, e)};
    if (!k.store)
        return e->kind == ERR_BUSY ? 0 : -1;
    room_set_limits(store_room(k.store), &limits);
    k.index = index_open(k.store, &rebuilt, e);
    int result = k.index ? work(&k, slice_of(str_text(request)), out, e) : -1;
    index_close(k.index);
    store_close(k.store);
    return result < 0 ? -1 : 1;
}

/* A folder that is not there holds nothing, and a mistyped name should not make one. */
static int check_folder(const char *data, struct error *e)
{
    struct store *s = store_open_beside(data, e);
    store_close(s);
    return s ? 0 : -1;
}

struct json_t *keeping_do(const struct config *c, const char *verb, keep_work work,
                          const struct str *request, struct error *e)
{
    autostr struct str report = {0};
    const struct timespec moment = {.tv_nsec = LOOK_MS * 1000000L};
    int64_t until_ms = clock_mono_ms() + HELD_MS;
    if (check_folder(c->data, e) < 0)
        return NULL;
    log_configure(LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
    for (;;) {
        int got = keeping_ask(c->data, verb, str_text(request), &report, e);
        if (got == 0)
            got = do_here(c, work, request, &report, e);
        if (got != 0)
            return got < 0 ? NULL : json_parse(str_text(&report), report.length, e);
        if (clock_mono_ms() >= until_ms)
            return NULL; /* busy, as the store said */
        nanosleep(&moment, NULL);
    }
}

/* --- a command that takes images -------------------------------------------------------------- */

static int add_names(const struct keeping_verb *v, char **names, int count, struct str *request,
                     struct error *e)
{
    struct reference ignored;
    struct digest also_ignored;
    json_write_open(request, NULL, '{');
    json_write_open(request, "images", '[');
    for (int i = 0; i < count; i++) {
        bool is_well = v->takes_digests && reference_is_digest(slice_of(names[i]), &also_ignored);
        if (!is_well && reference_parse(slice_of(names[i]), &ignored, e) < 0) {
            e->kind = ERR_USAGE; /* the command line's mistake */
            return -1;
        }
        json_write_text(request, NULL, names[i]);
    }
    json_write_close(request, ']');
    json_write_close(request, '}');
    return 0;
}

static int run(const struct keeping_verb *v, const struct config *c, const struct str *request,
               bool is_json, struct error *e)
{
    autostr struct str out = {0};
    autojson struct json_t *report = keeping_do(c, v->name, v->work, request, e);
    if (!report)
        return -1;
    const struct json_t *images = json_get_array(report, "images");
    if (is_json)
        show_document(report, &out);
    else
        for (size_t i = 0; i < json_count(images); i++)
            v->add_line(json_item(images, i), &out);
    return show_print(&out, e);
}

int keeping_command(const struct keeping_verb *v, int argc, char **argv)
{
    struct error e = {0};
    struct config c;
    bool is_json = false;
    autostr struct str request = {0};
    const struct argument table[] = {{"--json", NULL, "as JSON, for programs", NULL, &is_json}};
    struct arguments a = {.usage = v->usage, .table = table, .count = 1};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    if (rest == 0)
        rest = error_set(&e, ERR_USAGE, "%s takes at least one IMAGE", v->name);
    if (rest < 0 || add_names(v, argv, rest, &request, &e) < 0)
        return arguments_fail(&e);
    if (arguments_config(&a, &c) < 0)
        return 2;
    int result = run(v, &c, &request, is_json, &e);
    config_fini(&c);
    return result < 0 ? arguments_fail(&e) : 0;
}
