/* SPDX-License-Identifier: Apache-2.0
 * tranship serve: options in, a running mirror out. */
#include <stdio.h>
#include <string.h>

#include "app/app.h"
#include "app/config.h"
#include "app/mistakes.h"
#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"
#include "cli/cli.h"

static int print_help(void)
{
    autostr struct str text = {0};
    str_format(&text,
               "Usage: tranship serve [options]\n\n"
               "Runs the mirror until SIGTERM; SIGHUP reads the configuration file again. Every "
               "option can be given\nas TRANSHIP_<NAME> in the environment too, and as a key of "
               "the file, with _ for each -.\n\n"
               "  %-40s the configuration file (%s, if it is there)\n",
               "--config FILE", config_usual_path());
    option_print_help(&config_options, &text);
    str_add(&text, "  --help                                   this text\n");
    return fputs(str_text(&text), stdout) < 0 ? 1 : 0;
}

/* The words as name, value, name, value; *config apart. */
static int read_arguments(int argc, char **argv, char ***options, char **config, struct error *e)
{
    for (int i = 1; i < argc; i++) {
        char name[64], nearest[64];
        struct slice option, value;
        if (strncmp(argv[i], "--", 2) != 0)
            return error_set(e, ERR_USAGE, "serve takes options only, not \"%s\"", argv[i]);
        bool has_value = slice_cut(slice_of(argv[i] + 2), '=', &option, &value);
        if (!has_value)
            option = slice_of(argv[i] + 2);
        bool is_config = slice_equals(option, "config");
        if (!slice_copy(option, name, sizeof name))
            return error_set(e, ERR_USAGE, "unknown option %.80s", argv[i]);
        if (!is_config && !option_find(&config_options, name)) {
            bool is_near = option_nearest(&config_options, name, false, nearest, sizeof nearest);
            return error_set(e, ERR_USAGE, "unknown option %s%s%s", argv[i],
                             is_near ? "; the nearest is --" : "", is_near ? nearest : "");
        }
        if (!has_value && ++i == argc)
            return error_set(e, ERR_USAGE, "--%s needs a value", name);
        char *given = has_value ? (char *)value.at : argv[i];
        if (is_config) {
            *config = given;
        } else {
            option_list_add(options, name);
            option_list_add(options, given);
        }
    }
    return 0;
}

static int serve(int argc, char **argv, char ***options, struct mistakes *m, struct error *e)
{
    char *path = NULL;
    struct config c = {0};
    if (read_arguments(argc, argv, options, &path, e) < 0)
        return -1;
    const struct config_input in = {.path = path, .options = *options};
    int result = config_load(&c, &in, m) < 0 ? -1 : app_serve(&c, &in, m, e);
    config_fini(&c);
    return result;
}

int cmd_serve(int argc, char **argv)
{
    struct error e = {0};
    struct mistakes m = {0};
    char **options = NULL;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_help();
    int result = serve(argc, argv, &options, &m, &e);
    int status = result == 0 ? 0 : m.count > 0 || e.kind == ERR_USAGE ? 2 : 1;
    mistakes_print(&m, stderr, "tranship: ");
    if (result < 0 && m.count == 0)
        fprintf(stderr, "tranship: %s\n", e.text);
    option_list_free(options);
    mistakes_fini(&m);
    return status;
}
