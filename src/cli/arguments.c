/* SPDX-License-Identifier: Apache-2.0
 * Long options as --name VALUE and --name=VALUE, short ones as -o VALUE. "--" ends them. */
#include "cli/arguments.h"

#include <stdio.h>
#include <string.h>

#include "app/config.h"
#include "app/mistakes.h"
#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"

#define TABLE_MAX 24 /* and the two that all have */

static size_t whole_table(struct arguments *a, struct argument all[TABLE_MAX])
{
    size_t n = 0;
    for (; n < a->count && n < TABLE_MAX - 2; n++)
        all[n] = a->table[n];
    all[n++] = (struct argument){.name = "--config",
                                 .metavar = "FILE",
                                 .sentence = "the configuration file",
                                 .value = &a->config};
    all[n++] = (struct argument){
        .name = "--data", .metavar = "DIR", .sentence = "the data folder", .value = &a->data};
    return n;
}

static int print_help(struct arguments *a)
{
    struct argument all[TABLE_MAX];
    size_t count = whole_table(a, all);
    printf("Usage: tranship %s\n\n", a->usage);
    for (size_t i = 0; i < count; i++) {
        autofree char *left =
            alloc_format("%s %s", all[i].name, all[i].metavar ? all[i].metavar : "");
        printf("  %-40s %s\n", left, all[i].sentence);
    }
    printf("  --help                                   this text\n");
    return -2;
}

static int unknown(const char *word, const struct argument *all, size_t count, struct error *e)
{
    const char *names[TABLE_MAX + 1] = {0};
    for (size_t i = 0; i < count; i++)
        names[i] = all[i].name;
    autofree char *name = slice_dup((struct slice){word, strcspn(word, "=")});
    const char *nearest = str_nearest(name, names);
    return error_set(e, ERR_USAGE, "unknown option %.80s%s%s", word,
                     nearest ? "; the nearest is " : "", nearest ? nearest : "");
}

/* Takes the option at argv[i]; how many words it was, or -1. */
static int take_option(struct arguments *a, int left, char **argv, struct error *e)
{
    struct argument all[TABLE_MAX];
    size_t count = whole_table(a, all);
    size_t length = strcspn(argv[0], "=");
    bool has_value = argv[0][length] == '=';
    for (size_t i = 0; i < count; i++) {
        const struct argument *one = &all[i];
        if (strlen(one->name) != length || strncmp(one->name, argv[0], length) != 0)
            continue;
        if (!one->metavar && has_value)
            return error_set(e, ERR_USAGE, "%s takes no value", one->name);
        if (!one->metavar) {
            *one->flag = true;
            return 1;
        }
        if (!has_value && left < 2)
            return error_set(e, ERR_USAGE, "%s needs a value", one->name);
        *one->value = has_value ? argv[0] + length + 1 : argv[1];
        return has_value ? 1 : 2;
    }
    return unknown(argv[0], all, count, e);
}

int arguments_read(struct arguments *a, int argc, char **argv, struct error *e)
{
    int rest = 0;
    for (int i = 1; i < argc;) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_help(a);
        if (strcmp(argv[i], "--") == 0) {
            for (i++; i < argc; i++)
                argv[rest++] = argv[i];
            break;
        }
        if (argv[i][0] != '-' || !argv[i][1]) {
            argv[rest++] = argv[i++];
            continue;
        }
        int taken = take_option(a, argc - i, argv + i, e);
        if (taken < 0)
            return -1;
        i += taken;
    }
    return rest;
}

int arguments_config(const struct arguments *a, struct config *out)
{
    struct mistakes m = {0};
    char *options[] = {"data", (char *)a->data, NULL};
    const struct config_input in = {.path = a->config, .options = a->data ? options : NULL};
    *out = (struct config){0};
    int result = config_load(out, &in, &m);
    mistakes_print(&m, stderr, "tranship: ");
    mistakes_fini(&m);
    if (result < 0)
        config_fini(out);
    return result;
}

char *arguments_data(const struct arguments *a)
{
    struct config c;
    if (arguments_config(a, &c) < 0)
        return NULL;
    char *data = alloc_string(c.data);
    config_fini(&c);
    return data;
}

int arguments_fail(const struct error *e)
{
    fprintf(stderr, "tranship: %s\n", e->text);
    return e->kind == ERR_USAGE ? 2 : 1;
}
