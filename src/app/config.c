/* SPDX-License-Identifier: Apache-2.0
 * The table of config.def turned into code; nothing else knows an option's name, default or bounds.
 */
#include "app/config.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"

enum option_type { OPTION_LIST, OPTION_TEXT, OPTION_DURATION, OPTION_NUMBER, OPTION_SIZE };

struct option {
    const char *name;
    enum option_type type;
    size_t offset;
    const char *initial;
    int64_t least, most;
    const char *metavar, *sentence;
};

static const struct option options[] = {
#define LIST(field, name, initial, metavar, sentence)                                              \
    {name, OPTION_LIST, offsetof(struct config, field), initial, 0, 0, metavar, sentence},
#define TEXT(field, name, initial, metavar, sentence)                                              \
    {name, OPTION_TEXT, offsetof(struct config, field), initial, 0, 0, metavar, sentence},
#define DURATION(field, name, initial, least, most, sentence)                                      \
    {name,       OPTION_DURATION, offsetof(struct config, field##_ms), initial, least, most,       \
     "DURATION", sentence},
#define NUMBER(field, name, initial, least, most, sentence)                                        \
    {name, OPTION_NUMBER, offsetof(struct config, field), initial, least, most, "N", sentence},
#define SIZE(field, name, initial, least, most, sentence)                                          \
    {name,   OPTION_SIZE, offsetof(struct config, field##_bytes), initial, least, most,            \
     "SIZE", sentence},
#include "app/config.def"
};

enum { OPTION_COUNT = sizeof options / sizeof *options };

static const struct option *find(const char *name)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

bool config_has(const char *name)
{
    return find(name) != NULL;
}

const char *config_nearest(const char *name)
{
    const char *names[OPTION_COUNT + 1] = {0};
    for (size_t i = 0; i < OPTION_COUNT; i++)
        names[i] = options[i].name;
    return str_nearest(name, names);
}

static void free_list(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

static void add_to_list(char ***list, const char *value, bool is_first)
{
    size_t count = 0;
    if (is_first) {
        free_list(*list);
        *list = NULL;
    }
    if (!value[0])
        return; /* a list that is empty by default */
    while (*list && (*list)[count])
        count++;
    *list = alloc_grow(*list, count + 2, sizeof **list);
    (*list)[count] = alloc_string(value);
    (*list)[count + 1] = NULL;
}

static int set_number(const struct option *o, int64_t *field, const char *value, struct error *e)
{
    uint64_t number = 0;
    int64_t found = 0;
    bool is_right = o->type == OPTION_DURATION ? str_parse_duration(value, &found)
                    : o->type == OPTION_SIZE   ? str_parse_size(value, &number)
                                               : slice_u64(slice_of(value), INT64_MAX, &number);
    if (o->type != OPTION_DURATION)
        found = number > INT64_MAX ? INT64_MAX : (int64_t)number;
    if (!is_right)
        return error_set(e, ERR_USAGE, "--%s: \"%s\" is no %s", o->name, value,
                         o->type == OPTION_DURATION ? "duration (such as 90s, 15m)"
                         : o->type == OPTION_SIZE   ? "size (such as 64KiB, 10GiB)"
                                                    : "number");
    if (found < o->least || found > o->most)
        return error_set(e, ERR_USAGE, "--%s: %s is out of bounds (%lld to %lld%s)", o->name, value,
                         (long long)o->least, (long long)o->most,
                         o->type == OPTION_DURATION ? " ms"
                         : o->type == OPTION_SIZE   ? " bytes"
                                                    : "");
    *field = found;
    return 0;
}

int config_set(struct config *c, const char *name, const char *value, bool is_first,
               struct error *e)
{
    const struct option *o = find(name);
    if (!o) {
        const char *nearest = config_nearest(name);
        return error_set(e, ERR_USAGE, "unknown option --%s%s%s", name,
                         nearest ? "; the nearest is --" : "", nearest ? nearest : "");
    }
    void *field = (char *)c + o->offset;
    switch (o->type) {
    case OPTION_LIST:
        add_to_list(field, value, is_first);
        return 0;
    case OPTION_TEXT:
        free(*(char **)field);
        *(char **)field = alloc_string(value);
        return 0;
    default:
        return set_number(o, field, value, e);
    }
}

static int set_from_environment(struct config *c, const struct option *o, struct error *e)
{
    char variable[80] = "TRANSHIP_";
    size_t n = strlen(variable);
    for (size_t i = 0; o->name[i] && n + 1 < sizeof variable; i++)
        variable[n++] = o->name[i] == '-' ? '_' : (char)toupper((unsigned char)o->name[i]);
    variable[n] = 0;
    const char *value = getenv(variable);
    if (!value || !value[0])
        return 0;
    return config_set(c, o->name, value, true, e) < 0 ? error_prefix(e, "%s", variable) : 0;
}

int config_init(struct config *c, struct error *e)
{
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (config_set(c, options[i].name, options[i].initial, true, e) < 0)
            return -1;
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (set_from_environment(c, &options[i], e) < 0)
            return -1;
    return 0;
}

void config_fini(struct config *c)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        void *field = (char *)c + options[i].offset;
        if (options[i].type == OPTION_LIST)
            free_list(*(char ***)field);
        else if (options[i].type == OPTION_TEXT)
            free(*(char **)field);
    }
    memset(c, 0, sizeof *c);
}

void config_print_help(struct str *out)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *o = &options[i];
        autofree char *left = alloc_format("--%s %s", o->name, o->metavar);
        str_format(out, "  %-40s %s", left, o->sentence);
        if (o->initial[0])
            str_format(out, " (%s)", o->initial);
        str_add_char(out, '\n');
    }
}
