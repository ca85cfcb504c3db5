/* SPDX-License-Identifier: Apache-2.0
 * tranship pin, tranship unpin: which names keep their content whatever the budget says. */
#include <stdio.h>
#include <string.h>

#include "app/config.h"
#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/str.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/keeping.h"
#include "cli/show.h"

struct verb {
    const char *name, *usage;
    keep_work work;
    const char *done, *was_so;
};

static void add_line(const struct verb *v, const struct json_t *image, struct str *out)
{
    str_format(out, "%-8s %s%s%s\n", v->done, show_text(image, "image"),
               json_get_bool(image, "is_changed") ? "" : v->was_so,
               json_get_bool(image, "is_held") ? "" : "; not held yet");
}

static int run(const struct verb *v, const struct config *c, char **names, int count, bool is_json,
               struct error *e)
{
    autostr struct str request = {0}, out = {0};
    json_write_open(&request, NULL, '{');
    if (keeping_request(names, count, &request, e) < 0)
        return -1;
    json_write_close(&request, '}');
    autojson struct json_t *report = keeping_do(c, v->name, v->work, &request, e);
    if (!report)
        return -1;
    const struct json_t *images = json_get_array(report, "images");
    if (is_json)
        show_document(report, &out);
    else
        for (size_t i = 0; i < json_count(images); i++)
            add_line(v, json_item(images, i), &out);
    return show_print(&out, e);
}

static int command(const struct verb *v, int argc, char **argv)
{
    struct error e = {0};
    bool is_json = false;
    const struct argument table[] = {{"--json", NULL, "as JSON, for programs", NULL, &is_json}};
    struct arguments a = {.usage = v->usage, .table = table, .count = 1};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    if (rest == 0)
        rest = error_set(&e, ERR_USAGE, "%s takes at least one IMAGE", v->name);
    if (rest < 0)
        return arguments_fail(&e);
    struct config c;
    if (arguments_config(&a, &c) < 0)
        return 2;
    int result = run(v, &c, argv, rest, is_json, &e);
    config_fini(&c);
    return result < 0 ? arguments_fail(&e) : 0;
}

int cmd_pin(int argc, char **argv)
{
    static const struct verb v = {
        "pin",
        "pin IMAGE…\n\nWhat that name means, now and whenever it moves, is not evicted, whatever "
        "the budget. Nothing else\nabout it is frozen, and it need not be held yet.",
        keep_pin, "pinned", ", as before"};
    return command(&v, argc, argv);
}

int cmd_unpin(int argc, char **argv)
{
    static const struct verb v = {
        "unpin", "unpin IMAGE…\n\nTakes a pin back. The image stays until its space is wanted.",
        keep_unpin, "unpinned", ""};
    return command(&v, argc, argv);
}
