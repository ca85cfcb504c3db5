/* SPDX-License-Identifier: Apache-2.0
 * tranship explain: why a pull of an image goes as it does, on one screen. Asks the server on the
 * data folder; where none runs, it looks itself, and knows nothing of how the upstreams are. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "app/config.h"
#include "app/mistakes.h"
#include "app/world.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "cache/imported.h"
#include "cache/index.h"
#include "cache/store.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "fetch/local.h"
#include "mirror/explain.h"
#include "mirror/freshness.h"
#include "oci/problem.h"
#include "oci/reference.h"
#include "upstream/upstream.h"

enum { PATIENCE_MS = 30000, CHILDREN_SHOWN = 40 };

/* --- where the answer comes from -------------------------------------------------------------- */

/* 1, 0: no server runs there, -1. */
static int ask_server(const char *data, const char *name, struct str *out, struct error *e)
{
    autostr struct str path = {0};
    struct local_answer answer = {0};
    str_add(&path, "/api/explain?image=");
    str_percent_encode(&path, slice_of(name), "");
    const struct local_request r = {
        .data = data, .path = str_text(&path), .timeout_ms = PATIENCE_MS};
    int got = local_ask(&r, &answer, e);
    if (got == 1 && answer.status == 200) {
        str_add(out, str_text(&answer.body));
    } else if (got == 1) {
        char code[64] = "", message[256] = "no reason given";
        problem_read(str_text(&answer.body), answer.body.length, code, sizeof code, message,
                     sizeof message);
        got = error_set(e, ERR_IO, "the server on %s: %s", data, message);
    }
    str_fini(&answer.body);
    return got;
}

static bool hold(const char *registry, void *cls)
{
    upstreams_hold(cls, registry);
    return true;
}

static int look_with(const struct config *c, struct upstreams *u, const struct reference *image,
                     struct str *out, struct error *e)
{
    struct freshness_rules rules = {.tag_ttl_ms = c->tag_ttl_ms,
                                    .negative_ttl_ms = c->negative_ttl_ms};
    struct explain_request q = {.image = image, .upstreams = u, .rules = &rules};
    freshness_mode_parse(c->mode, &rules.mode); /* one of the words: config.def says which */
    q.store = store_open_beside(c->data, e);
    if (q.store)
        q.reader = index_reader_open_beside(q.store, e);
    /* What is not there yet holds nothing. */
    struct error ignored;
    if (q.reader)
        imported_each_registry(q.reader, hold, u, &ignored);
    int result = q.reader || e->kind == ERR_NOT_FOUND ? explain_write(&q, out, e) : -1;
    if (q.reader)
        index_reader_close(q.reader);
    if (q.store)
        store_close(q.store);
    return result;
}

static int look_here(const struct config *c, const struct reference *image, struct str *out,
                     struct error *e)
{
    struct mistakes m = {0};
    struct upstreams *u = world_build(c, false, &m);
    int result = u ? look_with(c, u, image, out, e)
                   : error_set(e, ERR_USAGE, "the configuration has mistakes");
    mistakes_print(&m, stderr, "tranship: ");
    mistakes_fini(&m);
    if (u)
        upstreams_free(u);
    return result;
}

/* --- the screen ------------------------------------------------------------------------------- */

static void add_registry(const struct json_t *x, struct str *out)
{
    const struct json_t *ways = json_get_array(x, "ways");
    str_format(out, "registry   %s (%s)\n", show_text(x, "registry"), show_text(x, "rule"));
    str_format(out, "repository %s\n", show_text(x, "repository"));
    for (size_t i = 0; i < json_count(ways); i++)
        str_format(out, "%s%s\n", i == 0 ? "asked as   " : "           ",
                   json_text(json_item(ways, i)));
    if (json_get_bool(x, "is_allowed"))
        str_format(out, "allowed    yes%s%s\n", json_get(x, "allowed_by") ? ", by " : "",
                   json_get(x, "allowed_by") ? show_text(x, "allowed_by") : "");
    else
        str_format(out, "allowed    no: %s\n",
                   json_get(x, "allowed_by") ? show_text(x, "allowed_by")
                                             : "nothing in the allow list matches");
}

static void add_source(const struct json_t *s, struct str *out)
{
    int64_t n;
    if (json_get_integer(s, "turn", &n))
        str_format(out, "  %2" PRId64 ". ", n);
    else
        str_add(out, "   -  ");
    str_format(out, "%-40s %s, %s", show_text(s, "url"), show_text(s, "role"),
               show_text(s, "login"));
    if (json_get_integer(s, "token_ms", &n)) {
        str_add(out, ", token good for ");
        show_duration(out, n);
    }
    if (json_get(s, "reason"))
        str_format(out, ", %s", show_text(s, "reason"));
    if (json_get_integer(s, "rate_remaining", &n))
        str_format(out, ", %" PRId64 " pulls left", n);
    str_add_char(out, '\n');
}

static void add_sources(const struct json_t *x, struct str *out)
{
    const struct json_t *all = json_get_array(x, "sources");
    str_format(out, "\nupstreams  tags are told by %s; bytes by digest, in this order%s:\n",
               show_text(x, "tags_told_by"),
               json_get_bool(x, "is_running")
                   ? ""
                   : " if all are well (no server runs: nothing is known)");
    for (size_t i = 0; i < json_count(all); i++)
        add_source(json_item(all, i), out);
}

static void add_tag(const struct json_t *x, struct str *out)
{
    const struct json_t *t = json_get_object(x, "tag");
    int64_t ago;
    if (!t)
        return;
    str_format(out, "\ntag        %s is ", show_text(t, "name"));
    if (json_get_integer(t, "confirmed_ago_s", &ago)) {
        str_format(out, "%s, confirmed ", show_text(t, "digest"));
        show_duration(out, ago * 1000);
        str_add(out, " ago");
    } else {
        str_add(out, "not known here");
    }
    str_add(out, json_get_bool(t, "is_immutable") ? "; never moves" : "; fresh for ");
    if (!json_get_bool(t, "is_immutable"))
        show_duration(out, show_number(t, "ttl_ms"));
    str_format(out, "\nnow        %s\n", show_text(t, "next"));
}

static void add_child(const struct json_t *c, unsigned depth, struct str *out);

static void add_children(const struct json_t *of, unsigned depth, struct str *out)
{
    const struct json_t *all = json_get_array(of, "children");
    size_t count = json_count(all);
    for (size_t i = 0; i < count && i < CHILDREN_SHOWN; i++)
        add_child(json_item(all, i), depth, out);
    if (count > CHILDREN_SHOWN)
        str_format(out, "%*s and %zu more\n", (int)depth * 2, "", count - CHILDREN_SHOWN);
}

static void add_child(const struct json_t *c, unsigned depth, struct str *out)
{
    int64_t size;
    str_format(out, "%*s%-8s %-20.19s  ", (int)depth * 2, "", show_text(c, "kind"),
               show_text(c, "digest"));
    if (strcmp(show_text(c, "state"), "partial") == 0) {
        show_bytes(out, show_number(c, "present"));
        str_add(out, " of ");
    } else {
        str_format(out, "%s, ", show_text(c, "state"));
    }
    if (json_get_integer(c, "size", &size))
        show_bytes(out, size);
    else
        str_add(out, "of a size not known");
    if (json_get(c, "platform")) {
        str_add(out, "  ");
        show_foreign(out, show_text(c, "platform"));
    }
    if (json_get(c, "children")) {
        str_add(out, ", of all of it ");
        show_bytes(out, show_number(c, "missing_bytes"));
        str_add(out, " to fetch");
    }
    str_add_char(out, '\n');
    add_children(c, depth + 1, out);
}

static void add_held(const struct json_t *x, struct str *out)
{
    const struct json_t *held = json_get_object(x, "image_held"),
                        *sums = json_get_object(x, "sums");
    bool is_held = strcmp(show_text(held, "state"), "held") == 0;
    if (is_held && !json_get_bool(held, "is_of_repository")) {
        str_add(out,
                "\nmanifest   held under another name only\na pull     asks the upstream whether "
                "this repository has it\n");
        return;
    }
    str_format(out, "\nmanifest   %s%s%s\n", show_text(held, "state"), is_held ? ", " : "",
               is_held ? show_text(held, "media_type") : "");
    add_children(held, 1, out);
    if (!is_held) {
        str_add(out,
                "a pull     would fetch the manifest, and what it then names and is missing\n");
        return;
    }
    str_format(out, "held       %" PRId64 " of %" PRId64 ", ", show_number(sums, "held"),
               show_number(sums, "held") + show_number(sums, "missing"));
    show_bytes(out, show_number(sums, "held_bytes"));
    str_format(out, "\na pull     of all of it would fetch %s",
               json_get_bool(x, "is_cut") ? "more than " : "");
    show_bytes(out, show_number(sums, "missing_bytes"));
    str_add_char(out, '\n');
}

static int show(const struct str *body, bool is_json, struct error *e)
{
    autostr struct str out = {0};
    autojson struct json_t *x = json_parse(str_text(body), body->length, e);
    if (!x)
        return -1;
    if (is_json) {
        str_format(&out, "%s\n", str_text(body));
    } else if (!json_get_bool(x, "is_known")) {
        str_format(&out, "%s is not one of the configured registries: it is never asked\n",
                   show_text(x, "registry"));
    } else {
        str_format(&out, "mode       %s\n", show_text(x, "mode"));
        add_registry(x, &out);
        if (json_get_bool(x, "is_allowed")) {
            add_sources(x, &out);
            add_tag(x, &out);
            add_held(x, &out);
        } else {
            str_add(&out, "a pull     is refused, whatever is held\n");
        }
    }
    return show_print(&out, e);
}

/* --- the command ------------------------------------------------------------------------------ */

static int explain(const struct config *c, const char *name, bool is_json, struct error *e)
{
    autostr struct str body = {0};
    struct reference image;
    if (reference_parse(slice_of(name), &image, e) < 0) {
        e->kind = ERR_USAGE; /* the command line's mistake */
        return -1;
    }
    int got = ask_server(c->data, name, &body, e);
    if (got == 0)
        got = look_here(c, &image, &body, e);
    return got < 0 ? -1 : show(&body, is_json, e);
}

int cmd_explain(int argc, char **argv)
{
    struct error e = {0};
    bool is_json = false;
    struct config c;
    const struct argument table[] = {{"--json", NULL, "as JSON, for programs", NULL, &is_json}};
    struct arguments a = {
        .usage = "explain IMAGE\n\nTells why a pull of that image goes as it does: which registry "
                 "is meant, who is asked\nin which order, how fresh its tag is, what of it is held "
                 "and what is missing. Dials nobody.",
        .table = table,
        .count = 1};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    if (rest >= 0 && rest != 1)
        rest = error_set(&e, ERR_USAGE, "explain takes one IMAGE");
    if (rest < 0)
        return arguments_fail(&e);
    if (arguments_config(&a, &c) < 0)
        return 2;
    int result = explain(&c, argv[0], is_json, &e);
    config_fini(&c);
    return result < 0 ? arguments_fail(&e) : 0;
}
