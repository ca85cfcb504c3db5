/* SPDX-License-Identifier: Apache-2.0
 * tranship export: images into a bundle, those that were named brought first. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/config.h"
#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "bundle/bring.h"
#include "bundle/export.h"
#include "bundle/list.h"
#include "bundle/platform.h"
#include "bundle/receipt.h"
#include "cache/index.h"
#include "cache/store.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/pulling.h"
#include "oci/signature.h"

struct wanted {
    const char *output, *since, *sign, *volume_size, *platform, *from;
    bool is_all, lacks_referrers, pulls_nothing, keeps_going, takes_all_tags;
};

static void print_note(const char *line, void *cls)
{
    (void)cls;
    fprintf(stderr, "tranship: %s\n", line);
}

static int read_receipt(const char *path, struct receipt *r, struct error *e)
{
    autofree char *text = NULL;
    size_t length = 0;
    int got = file_read(AT_FDCWD, path, RECEIPT_MAX_BYTES, &text, &length, e);
    if (got == 0)
        return error_set(e, ERR_NOT_FOUND, "%s: no such file", path);
    if (got < 0)
        return -1;
    return receipt_parse(text, length, r, e) < 0 ? error_prefix(e, "%s", path) : 0;
}

static int write_from(const char *data, const struct export_options *o, struct error *e)
{
    struct export_result done;
    struct store *s = store_open_beside(data, e);
    struct index_reader *r = s ? index_reader_open_beside(s, e) : NULL;
    int result = r ? export_write(o, s, r, &done, e) : -1;
    index_reader_close(r);
    store_close(s);
    if (result < 0)
        return -1;
    printf("%zu images, %zu blobs, %.1f MB", done.images, done.blobs,
           (double)done.blob_bytes / 1e6);
    if (done.absent)
        printf("; left out as held there: %zu blobs, %.1f MB", done.absent,
               (double)done.absent_bytes / 1e6);
    if (done.volumes > 1)
        printf("; %zu volumes", done.volumes);
    putchar('\n');
    return 0;
}

/* The size and the files that were named. The key and the receipt are the caller's. */
static int read_options(const struct wanted *w, struct export_options *o, char **key,
                        struct receipt *since, struct error *e)
{
    size_t length = 0;
    if (w->volume_size && !str_parse_size(w->volume_size, &o->volume_bytes))
        return error_set(e, ERR_USAGE, "--volume-size %.40s: not a size like 4GB", w->volume_size);
    if (w->since && read_receipt(w->since, since, e) < 0)
        return -1;
    o->select.since = w->since ? since : NULL;
    if (!w->sign)
        return 0;
    int got = file_read(AT_FDCWD, w->sign, KEY_PEM_MAX, key, &length, e);
    if (got < 1)
        return got < 0 ? -1 : error_set(e, ERR_NOT_FOUND, "%s: no such file", w->sign);
    /* An empty file is no key either, and must not pass for "not asked". */
    o->private_pem = length ? (struct slice){*key, length} : slice_of(" ");
    return 0;
}

/* What is named comes first, as a pull brings it. Those that came: how many; *lacks_some: others
 * did not. */
static int bring(const struct config *c, const struct wanted *w, const struct platforms *platforms,
                 const struct list *l, struct reference **names, bool *lacks_some, struct error *e)
{
    size_t done = 0, count = 0;
    autofree struct bring_image *images = NULL;
    const struct pulling p = {.config = c,
                              .platforms = platforms_list(platforms),
                              .has_referrers = !w->lacks_referrers,
                              .keeps_going = w->keeps_going,
                              .takes_all_tags = w->takes_all_tags};
    if (pulling_run(&p, l, &images, &count, e) < 0)
        return -1;
    *names = alloc_array(count + 1, sizeof **names);
    for (size_t i = 0; i < count; i++)
        if (images[i].is_done)
            (*names)[done++] = images[i].name;
    *lacks_some = done < count;
    if (done == 0 || (*lacks_some && !w->keeps_going))
        return error_set(e, ERR_NOT_FOUND,
                         "nothing is written; --no-pull takes images as they are held");
    return (int)done;
}

/* As they are held, none is brought. */
static int name_held(const struct list *l, struct reference **names, struct error *e)
{
    *names = alloc_array(l->count + 1, sizeof **names);
    for (size_t i = 0; i < l->count; i++) {
        const struct list_item *item = &l->items[i];
        if (item->pattern)
            return error_set(e, ERR_USAGE, "%s:%s: patterns need the registry's list of tags",
                             item->name.repository, item->pattern);
        (*names)[i] = item->name;
    }
    return (int)l->count;
}

/* 0, or 1 where images were left out. */
static int export_images(const struct config *c, const struct wanted *w, const struct list *l,
                         struct error *e)
{
    autofree struct reference *names = NULL;
    autoreceipt struct receipt since = {0};
    autoplatforms struct platforms platforms = {0};
    autofree char *key = NULL;
    char site[256] = "";
    bool lacks_some = false, pulls = !w->pulls_nothing && strcmp(c->mode, "offline") != 0;
    gethostname(site, sizeof site - 1);
    struct export_options o = {
        .output = w->output,
        .site = site,
        .select = {.is_all = w->is_all, .has_referrers = !w->lacks_referrers, .note = print_note}};
    if ((w->platform && platforms_read(w->platform, &platforms, e) < 0) ||
        read_options(w, &o, &key, &since, e) < 0)
        return -1;
    int count = l->count > 0 && pulls ? bring(c, w, &platforms, l, &names, &lacks_some, e)
                                      : name_held(l, &names, e);
    if (count < 0)
        return -1;
    o.select.images = names;
    o.select.image_count = (size_t)count;
    o.select.platforms = platforms_list(&platforms);
    return write_from(c->data, &o, e) < 0 ? -1 : lacks_some;
}

static int run(const struct arguments *a, const struct wanted *w, char **names, size_t count)
{
    struct error e = {0};
    struct config c;
    autolist struct list images = {0};
    if (!w->output || (count == 0 && !w->from) != w->is_all) {
        error_set(&e, ERR_USAGE, "export takes -o FILE and either images, --from or --all");
        return arguments_fail(&e);
    }
    if (pulling_read(names, count, w->from, &images, &e) < 0)
        return arguments_fail(&e);
    if (arguments_config(a, &c) < 0)
        return 2;
    int result = export_images(&c, w, &images, &e);
    config_fini(&c);
    return result < 0 ? arguments_fail(&e) : result;
}

int cmd_export(int argc, char **argv)
{
    struct error e = {0};
    struct wanted w = {0};
    const struct argument table[] = {
        {"-o", "FILE|DIR", "where to; a folder if it is one, or ends in /", &w.output, NULL},
        {"--all", NULL, "every image that is held whole", NULL, &w.is_all},
        {"--from", "FILE", "a list, a compose file, Kubernetes manifests; - is standard input",
         &w.from, NULL},
        {"--all-tags", NULL, "every tag that a pattern matches, not only the newest", NULL,
         &w.takes_all_tags},
        {"--platform", "LIST", "linux/amd64,linux/arm64; by default every one", &w.platform, NULL},
        {"--no-pull", NULL, "only what is held: nothing is asked of a registry", NULL,
         &w.pulls_nothing},
        {"--keep-going", NULL, "without the images that cannot be had", NULL, &w.keeps_going},
        {"--no-referrers", NULL, "without signatures, SBOMs and their tags", NULL,
         &w.lacks_referrers},
        {"--sign", "KEY", "sign with the private key that keygen made", &w.sign, NULL},
        {"--since", "RECEIPT", "leave out what that receipt names", &w.since, NULL},
        {"--volume-size", "SIZE", "split into files of at most that size", &w.volume_size, NULL},
    };
    struct arguments a = {
        .usage = "export -o FILE|DIR IMAGE… | --from FILE | --all\n\nWrites images into a bundle, "
                 "for tranship "
                 "import on another site and for other tools. What is named\nand not held is "
                 "pulled first.",
        .table = table,
        .count = sizeof table / sizeof *table};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    return rest < 0 ? arguments_fail(&e) : run(&a, &w, argv, (size_t)rest);
}
