/* SPDX-License-Identifier: Apache-2.0
 * tranship export: images that are held here into a bundle. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "bundle/export.h"
#include "bundle/platform.h"
#include "bundle/receipt.h"
#include "cache/index.h"
#include "cache/store.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "oci/signature.h"

struct wanted {
    const char *output, *since, *sign, *volume_size, *platform;
    bool is_all, lacks_referrers;
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

static int export_images(const char *data, const struct wanted *w,
                         const struct select_options *images, struct error *e)
{
    struct export_options o = {.output = w->output, .select = *images};
    autoreceipt struct receipt since = {0};
    autofree char *key = NULL;
    autoplatforms struct platforms platforms = {0};
    size_t length = 0;
    char site[256] = "";
    gethostname(site, sizeof site - 1);
    o.site = site;
    if (w->platform && platforms_read(w->platform, &platforms, e) < 0)
        return -1;
    o.select.platforms = platforms_list(&platforms);
    if (w->volume_size && !str_parse_size(w->volume_size, &o.volume_bytes))
        return error_set(e, ERR_USAGE, "--volume-size %.40s: not a size like 4GB", w->volume_size);
    if (w->since && read_receipt(w->since, &since, e) < 0)
        return -1;
    o.select.since = w->since ? &since : NULL;
    if (w->sign) {
        int got = file_read(AT_FDCWD, w->sign, KEY_PEM_MAX, &key, &length, e);
        if (got < 1)
            return got < 0 ? -1 : error_set(e, ERR_NOT_FOUND, "%s: no such file", w->sign);
        /* An empty file is no key either, and must not pass for "not asked". */
        o.private_pem = length ? (struct slice){key, length} : slice_of(" ");
    }
    return write_from(data, &o, e);
}

static int run(const struct arguments *a, const struct wanted *w, char **names, int count)
{
    struct error e = {0};
    autofree struct reference *images = alloc_array((size_t)count + 1, sizeof *images);
    if (!w->output || (count == 0) != w->is_all) {
        error_set(&e, ERR_USAGE, "export takes -o FILE and either images or --all");
        return arguments_fail(&e);
    }
    for (int i = 0; i < count; i++)
        if (reference_parse(slice_of(names[i]), &images[i], &e) < 0) {
            fprintf(stderr, "tranship: %s: %s\n", names[i], e.text);
            return 2;
        }
    autofree char *data = arguments_data(a);
    if (!data)
        return 2;
    const struct select_options o = {.images = images,
                                     .image_count = (size_t)count,
                                     .is_all = w->is_all,
                                     .has_referrers = !w->lacks_referrers,
                                     .note = print_note};
    return export_images(data, w, &o, &e) < 0 ? arguments_fail(&e) : 0;
}

int cmd_export(int argc, char **argv)
{
    struct error e = {0};
    struct wanted w = {0};
    const struct argument table[] = {
        {"-o", "FILE|DIR", "where to; a folder if it is one, or ends in /", &w.output, NULL},
        {"--all", NULL, "every image that is held whole", NULL, &w.is_all},
        {"--platform", "LIST", "linux/amd64,linux/arm64, or all that are held (all)", &w.platform,
         NULL},
        {"--no-referrers", NULL, "without signatures, SBOMs and their tags", NULL,
         &w.lacks_referrers},
        {"--sign", "KEY", "sign with the private key that keygen made", &w.sign, NULL},
        {"--since", "RECEIPT", "leave out what that receipt names", &w.since, NULL},
        {"--volume-size", "SIZE", "split into files of at most that size", &w.volume_size, NULL},
    };
    struct arguments a = {
        .usage = "export -o FILE|DIR IMAGE… | --all\n\nWrites images that are held here into a "
                 "bundle, for tranship import on another site and for other tools.",
        .table = table,
        .count = sizeof table / sizeof *table};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    return rest < 0 ? arguments_fail(&e) : run(&a, &w, argv, rest);
}
