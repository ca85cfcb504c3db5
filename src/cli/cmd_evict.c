/* SPDX-License-Identifier: Apache-2.0
 * tranship evict: what eviction would let go of some day goes now. */
#include <inttypes.h>

#include "app/config.h"
#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/str.h"
#include "cache/eviction.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/keeping.h"
#include "cli/show.h"
#include "cli/table.h"

struct wanted {
    const char *budget;
    bool is_dry_run, is_json;
};

static void add_images(const struct json_t *report, struct str *out)
{
    static const char *const heads[] = {"IMAGE", "DIGEST", ">SIZE", NULL};
    autotable struct table t = {.heads = heads};
    const struct json_t *images = json_get_array(report, "images");
    for (size_t i = 0; i < json_count(images); i++) {
        autostr struct str size = {0};
        show_bytes(&size, show_number(json_item(images, i), "size"));
        table_add(&t, show_text(json_item(images, i), "image"));
        table_add(&t, show_text(json_item(images, i), "digest"));
        table_add(&t, str_text(&size));
    }
    if (json_count(images) > 0)
        table_print(&t, out);
    if (show_number(report, "more_images") > 0)
        str_format(out, "and %" PRId64 " more\n", show_number(report, "more_images"));
}

static void add_sum(const struct json_t *report, struct str *out)
{
    int64_t partial = show_number(report, "partial");
    str_add(out, json_get_bool(report, "is_dry_run") ? "would free " : "freed ");
    show_bytes(out, show_number(report, "freed"));
    str_format(out, " in %" PRId64 " blobs", show_number(report, "blobs"));
    if (partial > 0)
        str_format(out, " and %" PRId64 " that were on their way in", partial);
    str_add_char(out, '\n');
}

static int evict(const struct config *c, const struct wanted *w, struct error *e)
{
    autostr struct str request = {0}, out = {0};
    uint64_t bytes = 0;
    if (w->budget && (!str_parse_size(w->budget, &bytes) || bytes > INT64_MAX))
        return error_set(e, ERR_USAGE, "--budget %.40s: not a size like 10GiB", w->budget);
    json_write_open(&request, NULL, '{');
    if (w->budget)
        json_write_number(&request, "budget", (int64_t)bytes);
    json_write_bool(&request, "is_dry_run", w->is_dry_run);
    json_write_close(&request, '}');
    autojson struct json_t *report = keeping_do(c, "evict", eviction_here, &request, e);
    if (!report)
        return -1;
    if (w->is_json) {
        show_document(report, &out);
    } else {
        add_images(report, &out);
        add_sum(report, &out);
    }
    return show_print(&out, e);
}

int cmd_evict(int argc, char **argv)
{
    struct error e = {0};
    struct wanted w = {0};
    struct config c;
    const struct argument table[] = {
        {"--budget", "SIZE", "until the data folder takes that much (default: as configured)",
         &w.budget, NULL},
        {"--dry-run", NULL, "tell what would go, and leave it", NULL, &w.is_dry_run},
        {"--json", NULL, "as JSON, for programs", NULL, &w.is_json}};
    struct arguments a = {
        .usage = "evict\n\nFrees space now, in the order in which the budget would, and tells what "
                 "went. What is pinned\nor being read stays.",
        .table = table,
        .count = sizeof table / sizeof *table};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    if (rest > 0)
        error_set(&e, ERR_USAGE, "evict takes options only; tranship remove takes images");
    if (rest != 0)
        return arguments_fail(&e);
    if (arguments_config(&a, &c) < 0)
        return 2;
    int result = evict(&c, &w, &e);
    config_fini(&c);
    return result < 0 ? arguments_fail(&e) : 0;
}
