/* SPDX-License-Identifier: Apache-2.0
 * tranship status: what the server on a data folder says of itself, on one screen. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "fetch/local.h"

enum { PATIENCE_MS = 10000 };

static void add_known_ms(struct str *out, const struct json_t *of, const char *key)
{
    int64_t ms;
    if (json_get_integer(of, key, &ms))
        show_duration(out, ms);
    else
        str_add_char(out, '-');
}

static void add_rate(struct str *out, const struct json_t *of)
{
    int64_t rate;
    if (json_get_integer(of, "bytes_per_s", &rate)) {
        show_bytes(out, rate);
        str_add(out, "/s");
    } else {
        str_add_char(out, '-');
    }
}

static void add_head(const struct json_t *s, struct str *out)
{
    const struct json_t *listen = json_get_array(s, "listen");
    str_format(out, "tranship %s, %s, up ", show_text(s, "version"), show_text(s, "mode"));
    show_duration(out, show_number(s, "uptime_s") * 1000);
    str_format(out, "\nserves    ");
    for (size_t i = 0; i < json_count(listen); i++)
        str_format(out, "%s%s", i > 0 ? ", " : "", json_text(json_item(listen, i)));
    str_format(out, "\ndata      %s\n", show_text(s, "data"));
}

static void add_held(const struct json_t *s, struct str *out)
{
    const struct json_t *held = json_get_object(s, "held");
    int64_t budget;
    str_add(out, "held      ");
    show_bytes(out, show_number(held, "bytes"));
    str_format(out, " in %" PRId64 " blobs", show_number(held, "blobs"));
    str_add(out, "; the folder takes ");
    show_bytes(out, show_number(held, "disk_bytes"));
    if (json_get_integer(held, "budget_bytes", &budget)) {
        str_add(out, " of ");
        show_bytes(out, budget);
    }
    str_add_char(out, '\n');
}

static void add_traffic(const struct json_t *s, struct str *out)
{
    const struct json_t *r = json_get_object(s, "requests"), *b = json_get_object(s, "bytes");
    const struct json_t *ratio = json_get(r, "hit_ratio");
    str_format(out, "requests  %" PRId64 ", %" PRId64 " of them errors", show_number(r, "total"),
               show_number(r, "errors"));
    if (ratio) {
        autostr struct str digits = {0};
        json_print(ratio, &digits);
        str_format(out, "; %.1f %% of what was asked for were hits",
                   strtod(str_text(&digits), NULL) * 100);
    }
    str_add(out, "\nbytes     ");
    show_bytes(out, show_number(b, "served"));
    str_add(out, " served, ");
    show_bytes(out, show_number(b, "fetched"));
    str_add(out, " fetched, ");
    show_bytes(out, show_number(b, "saved"));
    str_format(out, " saved\nopen      %" PRId64 " connections, %" PRId64 " transfers\n",
               show_number(s, "connections"),
               show_number(json_get_object(s, "queues"), "transfers"));
}

/* "out for 12s (time-out, 3 in a row)" */
static void add_state(struct str *out, const struct json_t *source)
{
    const char *why = json_get_string(source, "why");
    int64_t ms;
    str_add(out, show_text(source, "state"));
    if (json_get_integer(source, "out_ms", &ms) || json_get_integer(source, "limited_ms", &ms)) {
        str_add(out, ms > 0 ? " for " : " until a probe");
        if (ms > 0)
            show_duration(out, ms);
    }
    if (why)
        str_format(out, " (%s, %" PRId64 " in a row)", why, show_number(source, "failures"));
    if (json_get_integer(source, "rate_remaining", &ms))
        str_format(out, ", %" PRId64 " of %" PRId64 " pulls left", ms,
                   show_number(source, "rate_limit"));
}

/* Nobody asked it yet and it is fine: not worth a line among eleven registries. */
static bool is_untouched(const struct json_t *source)
{
    return !json_get(source, "answered_ago_ms") && show_number(source, "under_way") == 0 &&
           strcmp(show_text(source, "state"), "in") == 0;
}

static void add_source(const struct json_t *source, struct str *out)
{
    autostr struct str first = {0}, rate = {0};
    add_known_ms(&first, source, "first_byte_ms");
    add_rate(&rate, source);
    str_format(out, "  %-40s %-7s %10s %14s  ", show_text(source, "url"), show_text(source, "role"),
               str_text(&first), str_text(&rate));
    add_state(out, source);
    str_add_char(out, '\n');
}

static void add_registries(const struct json_t *s, struct str *out)
{
    const struct json_t *all = json_get_array(s, "registries");
    size_t untouched = 0;
    for (size_t i = 0; i < json_count(all); i++) {
        const struct json_t *sources = json_get_array(json_item(all, i), "sources");
        size_t count = json_count(sources), idle = 0;
        for (size_t k = 0; k < count; k++)
            idle += is_untouched(json_item(sources, k));
        if (idle == count) {
            untouched++;
            continue;
        }
        str_format(out, "\n%-42s %-7s %10s %14s  state\n", show_text(json_item(all, i), "registry"),
                   "", "first byte", "throughput");
        for (size_t k = 0; k < count; k++)
            add_source(json_item(sources, k), out);
    }
    if (untouched > 0)
        str_format(out, "\n%zu registries that nobody has asked for yet\n", untouched);
}

static void add_flows(const struct json_t *s, struct str *out)
{
    const struct json_t *all = json_get_array(s, "flows");
    if (json_count(all) > 0)
        str_add(out, "\non their way in\n");
    for (size_t i = 0; i < json_count(all); i++) {
        const struct json_t *flow = json_item(all, i);
        int64_t size;
        str_format(out, "  %-40s %.19s  ", show_text(flow, "repository"),
                   show_text(flow, "digest"));
        show_bytes(out, show_number(flow, "present"));
        if (json_get_integer(flow, "size", &size)) {
            str_add(out, " of ");
            show_bytes(out, size);
        }
        str_add(out, ", ");
        add_rate(out, flow);
        str_add_char(out, '\n');
    }
}

static int show(const struct local_answer *answer, bool is_json, struct error *e)
{
    autostr struct str out = {0};
    autojson struct json_t *s = json_parse(str_text(&answer->body), answer->body.length, e);
    if (!s || answer->status != 200)
        return error_set(e, ERR_IO, "the server answered %d, and nothing that can be read",
                         answer->status);
    if (is_json) {
        str_add(&out, str_text(&answer->body));
        str_add_char(&out, '\n');
    } else {
        add_head(s, &out);
        add_held(s, &out);
        add_traffic(s, &out);
        add_registries(s, &out);
        add_flows(s, &out);
    }
    return show_print(&out, e);
}

static int ask(const char *data, bool is_json, struct error *e)
{
    struct local_answer answer = {0};
    const struct local_request r = {.data = data, .path = "/api/status", .timeout_ms = PATIENCE_MS};
    int got = local_ask(&r, &answer, e);
    if (got == 0)
        return error_set(e, ERR_NOT_FOUND, "no server runs on %s (tranship serve starts one)",
                         data);
    int result = got < 0 ? -1 : show(&answer, is_json, e);
    str_fini(&answer.body);
    return result;
}

int cmd_status(int argc, char **argv)
{
    struct error e = {0};
    bool is_json = false;
    const struct argument table[] = {{"--json", NULL, "as JSON, for programs", NULL, &is_json}};
    struct arguments a = {
        .usage = "status\n\nTells what the server on this data folder is doing: what it holds, "
                 "what it saved,\nhow its upstreams are, what is on its way in.",
        .table = table,
        .count = 1};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    if (rest > 0)
        error_set(&e, ERR_USAGE, "status takes options only, not \"%.80s\"", argv[0]);
    if (rest != 0)
        return arguments_fail(&e);
    autofree char *data = arguments_data(&a);
    if (!data)
        return 2;
    return ask(data, is_json, &e) < 0 ? arguments_fail(&e) : 0;
}
