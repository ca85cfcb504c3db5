/* SPDX-License-Identifier: Apache-2.0
 * tranship check-config: what a start would say of a configuration file, and whether the files that
 * it names can be read here. It opens none of them. */
#include <stdio.h>
#include <string.h>

#include "app/config.h"
#include "app/mistakes.h"
#include "app/world.h"
#include "cli/cli.h"
#include "upstream/upstream.h"

static int print_help(void)
{
    return printf("Usage: tranship check-config [FILE]\n\n"
                  "Prints every mistake of the configuration file with its line, its key and the "
                  "nearest valid key;\nexit status 0 if there is none, 2 otherwise.\n\n"
                  "  %-40s the same as FILE (%s)\n"
                  "  --help                                   this text\n",
                  "--config FILE", config_usual_path()) < 0;
}

static int check(const char *path, struct mistakes *m, struct mistakes *notes)
{
    struct config c = {0};
    const struct config_input in = {.path = path, .is_file_only = true};
    int result = config_load(&c, &in, m);
    struct upstreams *u = result == 0 ? world_build(&c, false, m) : NULL;
    if (u) {
        config_note_files(&c, notes);
        if (c.path)
            printf("%s: no mistake; %zu registries\n", c.path, c.registry_count);
        else
            printf("%s is not there: the defaults hold\n", config_usual_path());
        upstreams_free(u);
    }
    config_fini(&c);
    return u ? 0 : -1;
}

int cmd_check_config(int argc, char **argv)
{
    const char *path = NULL;
    struct mistakes m = {0}, notes = {0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_help();
        bool is_option = strcmp(argv[i], "--config") == 0 && i + 1 < argc;
        if (path || (argv[i][0] == '-' && !is_option)) {
            fprintf(stderr, "tranship: check-config takes one FILE, not \"%s\"\n", argv[i]);
            return 2;
        }
        path = is_option ? argv[++i] : argv[i];
    }
    int result = check(path, &m, &notes);
    mistakes_print(&m, stderr, "");
    mistakes_print(&notes, stderr, "note: ");
    mistakes_fini(&m);
    mistakes_fini(&notes);
    return result < 0 ? 2 : 0;
}
