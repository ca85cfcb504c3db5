/* SPDX-License-Identifier: Apache-2.0
 * tranship pull: images into the cache ahead of their use. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "app/config.h"
#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json_write.h"
#include "base/str.h"
#include "bundle/bring.h"
#include "bundle/list.h"
#include "bundle/platform.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/pulling.h"
#include "cli/show.h"

struct wanted {
    const char *platform, *from;
    bool is_pinned, keeps_going, lacks_referrers, is_json, takes_all_tags;
};

/* --- what came -------------------------------------------------------------------------------- */

static void add_name(const struct reference *n, struct str *out)
{
    str_format(out, "%s/%s%s%s", n->registry, n->repository, n->tag[0] ? ":" : "", n->tag);
}

static const char *outcome(const struct bring_image *i)
{
    return i->error.kind != ERR_NONE ? "failed" : !i->is_done ? "not tried" : NULL;
}

static void add_amount(unsigned count, uint64_t bytes, struct str *out)
{
    autostr struct str text = {0};
    str_format(&text, "%u, ", count);
    show_bytes(&text, (int64_t)bytes);
    str_format(out, "  %-17s", str_text(&text));
}

static void add_row(const struct bring_image *i, int width, struct str *out)
{
    autostr struct str name = {0};
    char digest[DIGEST_TEXT_MAX] = "-";
    add_name(&i->name, &name);
    if (i->digest.algorithm)
        digest_print(&i->digest, digest);
    str_format(out, "%-*s  %-19.19s", width, str_text(&name), digest);
    add_amount(i->came, i->came_bytes, out);
    add_amount(i->held, i->held_bytes, out);
    str_add(out, "  ");
    if (outcome(i))
        str_add(out, outcome(i));
    else
        show_duration(out, i->took_ms);
    str_add_char(out, '\n');
}

static void add_table(const struct bring_image *images, size_t count, struct str *out)
{
    size_t width = strlen("IMAGE");
    for (size_t k = 0; k < count; k++) {
        autostr struct str name = {0};
        add_name(&images[k].name, &name);
        width = name.length > width ? name.length : width;
    }
    str_format(out, "%-*s  %-19s  %-17s  %-17s  %s\n", (int)width, "IMAGE", "DIGEST", "CAME",
               "HELD", "TIME");
    for (size_t k = 0; k < count; k++)
        add_row(&images[k], (int)width, out);
}

static void add_amount_json(const char *key, unsigned count, uint64_t bytes, struct str *out)
{
    json_write_open(out, key, '{');
    json_write_number(out, "objects", count);
    json_write_number(out, "bytes", (int64_t)bytes);
    json_write_close(out, '}');
}

static void add_json(const struct bring_image *images, size_t count, bool is_pinned,
                     struct str *out)
{
    json_write_open(out, NULL, '{');
    json_write_open(out, "images", '[');
    for (size_t k = 0; k < count; k++) {
        const struct bring_image *i = &images[k];
        autostr struct str name = {0};
        char digest[DIGEST_TEXT_MAX];
        add_name(&i->name, &name);
        json_write_open(out, NULL, '{');
        json_write_text(out, "image", str_text(&name));
        json_write_text(out, "digest",
                        i->digest.algorithm ? digest_print(&i->digest, digest) : NULL);
        add_amount_json("came", i->came, i->came_bytes, out);
        add_amount_json("held", i->held, i->held_bytes, out);
        json_write_number(out, "took_ms", i->took_ms);
        json_write_bool(out, "is_done", i->is_done);
        json_write_bool(out, "is_pinned", i->is_done && is_pinned);
        json_write_text(out, "error", i->error.kind != ERR_NONE ? i->error.text : NULL);
        json_write_close(out, '}');
    }
    json_write_close(out, ']');
    json_write_close(out, '}');
    str_add_char(out, '\n');
}

/* --- the command ------------------------------------------------------------------------------ */

static int pull(const struct config *c, const struct wanted *w, const struct list *l,
                struct error *e)
{
    autostr struct str out = {0};
    autofree struct bring_image *images = NULL;
    size_t count = 0;
    autoplatforms struct platforms platforms = {0};
    if (platforms_read(w->platform ? w->platform : platform_here(), &platforms, e) < 0)
        return -1;
    const struct pulling p = {.config = c,
                              .platforms = platforms_list(&platforms),
                              .has_referrers = !w->lacks_referrers,
                              .is_pinned = w->is_pinned,
                              .keeps_going = w->keeps_going,
                              .takes_all_tags = w->takes_all_tags};
    if (pulling_run(&p, l, &images, &count, e) < 0)
        return -1;
    if (w->is_json)
        add_json(images, count, w->is_pinned, &out);
    else
        add_table(images, count, &out);
    if (fputs(str_text(&out), stdout) < 0)
        return error_errno(e, "print");
    for (size_t k = 0; k < count; k++)
        if (!images[k].is_done)
            return 1;
    return 0;
}

static int run(const struct arguments *a, const struct wanted *w, char **names, size_t count)
{
    struct error e = {0};
    struct config c;
    autolist struct list images = {0};
    if (count == 0 && !w->from)
        error_set(&e, ERR_USAGE, "pull takes at least one IMAGE, or --from FILE");
    if (e.kind != ERR_NONE || pulling_read(names, count, w->from, &images, &e) < 0)
        return arguments_fail(&e);
    if (arguments_config(a, &c) < 0)
        return 2;
    int result = pull(&c, w, &images, &e);
    config_fini(&c);
    return result < 0 ? arguments_fail(&e) : result;
}

int cmd_pull(int argc, char **argv)
{
    struct error e = {0};
    struct wanted w = {0};
    const struct argument table[] = {
        {"--from", "FILE", "a list, a compose file, Kubernetes manifests; - is standard input",
         &w.from, NULL},
        {"--all-tags", NULL, "every tag that a pattern matches, not only the newest", NULL,
         &w.takes_all_tags},
        {"--platform", "LIST", "linux/amd64,linux/arm64; this machine's by default; all",
         &w.platform, NULL},
        {"--pin", NULL, "never evict them", NULL, &w.is_pinned},
        {"--keep-going", NULL, "after an image that cannot be had, bring the others", NULL,
         &w.keeps_going},
        {"--no-referrers", NULL, "without signatures, SBOMs and their tags", NULL,
         &w.lacks_referrers},
        {"--json", NULL, "as JSON, for programs", NULL, &w.is_json},
    };
    struct arguments a = {
        .usage = "pull IMAGE… | --from FILE\n\nFetches images into the data folder ahead of their "
                 "use, beside a "
                 "running server or without one,\nand tells what came and what was there.",
        .table = table,
        .count = sizeof table / sizeof *table};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    return rest < 0 ? arguments_fail(&e) : run(&a, &w, argv, (size_t)rest);
}
