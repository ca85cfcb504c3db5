/* SPDX-License-Identifier: Apache-2.0
 * tranship serve: options in, a running mirror out. */
#include <stdio.h>
#include <string.h>

#include "app/app.h"
#include "app/config.h"
#include "base/error.h"
#include "base/str.h"
#include "cli/cli.h"

static int print_help(void)
{
    autostr struct str text = {0};
    str_add(&text, "Usage: tranship serve [options]\n\n"
                   "Runs the mirror until SIGTERM. Every option can be given as TRANSHIP_<NAME> in "
                   "the environment too.\n\n");
    config_print_help(&text);
    str_add(&text, "  --help                                   this text\n");
    return fputs(str_text(&text), stdout) < 0 ? 1 : 0;
}

static int read_arguments(struct config *c, int argc, char **argv, struct error *e)
{
    bool has_listen = false, has_mirror = false;
    for (int i = 1; i < argc; i++) {
        char name[64];
        struct slice option, value;
        if (strncmp(argv[i], "--", 2) != 0)
            return error_set(e, ERR_USAGE, "serve takes options only, not \"%s\"", argv[i]);
        bool has_value = slice_cut(slice_of(argv[i] + 2), '=', &option, &value);
        if (!has_value)
            option = slice_of(argv[i] + 2);
        if (!slice_copy(option, name, sizeof name) || !config_has(name)) {
            const char *nearest = config_nearest(name);
            return error_set(e, ERR_USAGE, "unknown option %s%s%s", argv[i],
                             nearest ? "; the nearest is --" : "", nearest ? nearest : "");
        }
        if (!has_value && ++i == argc)
            return error_set(e, ERR_USAGE, "--%s needs a value", name);
        bool *was_given = strcmp(name, "mirror") == 0 ? &has_mirror : &has_listen;
        bool is_list = was_given == &has_mirror || strcmp(name, "listen") == 0;
        if (config_set(c, name, has_value ? value.at : argv[i], !is_list || !*was_given, e) < 0)
            return -1;
        *was_given = *was_given || is_list;
    }
    return 0;
}

int cmd_serve(int argc, char **argv)
{
    struct config c;
    struct error e = {0};
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_help();
    int failed =
        config_init(&c, &e) < 0 || read_arguments(&c, argc, argv, &e) < 0 || app_serve(&c, &e) < 0;
    config_fini(&c);
    if (!failed)
        return 0;
    fprintf(stderr, "tranship: %s\n", e.text);
    return e.kind == ERR_USAGE ? 2 : 1;
}
