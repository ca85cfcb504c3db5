/* SPDX-License-Identifier: Apache-2.0
 * Who may say what an option is, in the order of their rank, and what the options of docker.io's
 * own mean for its registry. */
#include "app/config.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/config_file.h"
#include "app/mistakes.h"
#include "app/registry.h"
#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "oci/reference.h"

enum { FILE_MAX_BYTES = 1 << 20, NAME_MAX_BYTES = 64 };

static const struct option rows[] = {
#define OPTION_INTO struct config
#include "app/option_rows.h"
/* after the rows, which are macros until then */
#include "app/config.def"
};

const struct option_table config_options = {rows, sizeof rows / sizeof *rows};

const char *config_usual_path(void)
{
    return "/etc/tranship/tranship.json";
}

static int set(struct config *c, const struct option *o, const char *value, enum option_from from,
               struct error *e)
{
    struct option_mark *mark = option_mark(o, c);
    if (option_set(o, c, value, mark->from != from, e) < 0)
        return -1;
    *mark = (struct option_mark){.from = from};
    return 0;
}

static void take_environment(struct config *c, struct mistakes *m)
{
    for (size_t i = 0; i < config_options.count; i++) {
        const struct option *o = &config_options.rows[i];
        char variable[NAME_MAX_BYTES + 10] = "TRANSHIP_";
        struct error e = {0};
        size_t n = strlen(variable);
        for (const char *at = o->name; *at && n + 1 < sizeof variable; at++)
            variable[n++] = *at == '-' || *at == '.' ? '_' : (char)toupper((unsigned char)*at);
        variable[n] = 0;
        struct slice rest = slice_of(getenv(variable)), word;
        if (rest.length == 0)
            continue;
        for (bool is_more = true; is_more;) { /* a list is parted by blanks */
            is_more = o->type == OPTION_LIST && slice_cut(rest, ' ', &word, &rest);
            if (!is_more)
                word = rest;
            autofree char *value = slice_dup(word);
            if (value[0] && set(c, o, value, OPTION_FROM_ENVIRONMENT, &e) < 0)
                mistakes_add(m, "%s: %s", variable, e.text);
        }
    }
}

static void take_command(struct config *c, char *const *options, struct mistakes *m)
{
    for (; options && options[0]; options += 2) {
        struct error e = {0};
        char nearest[NAME_MAX_BYTES];
        const struct option *o = option_find(&config_options, options[0]);
        if (!o && option_nearest(&config_options, options[0], false, nearest, sizeof nearest))
            mistakes_add(m, "unknown option --%s; the nearest is --%s", options[0], nearest);
        else if (!o)
            mistakes_add(m, "unknown option --%s", options[0]);
        else if (set(c, o, options[1], OPTION_FROM_COMMAND, &e) < 0)
            mistakes_add(m, "--%s: %s", options[0], e.text);
    }
}

static void take_file(struct config *c, const struct config_input *in, struct mistakes *m)
{
    autofree char *bytes = NULL;
    size_t length = 0;
    struct error e = {0};
    if (in->text.at) {
        c->path = alloc_string(in->path);
        config_file_read(c, in->path, in->text.at, in->text.length, m);
        return;
    }
    const char *variable = in->is_file_only ? NULL : getenv("TRANSHIP_CONFIG");
    const char *named = in->path ? in->path : variable && variable[0] ? variable : NULL;
    const char *path = named ? named : config_usual_path();
    int found = file_read(AT_FDCWD, path, FILE_MAX_BYTES, &bytes, &length, &e);
    if (found == 0 && !named)
        return;
    if (found == 0)
        mistakes_add(m, "%s: there is no such file", path);
    else if (found < 0)
        mistakes_add(m, "%s: %s", path, e.text);
    else
        config_file_read(c, path, bytes, length, m);
    c->path = found > 0 ? alloc_string(path) : NULL;
}

struct registry *config_registry(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->registry_count; i++)
        if (strcmp(c->registries[i]->name, name) == 0)
            return c->registries[i];
    return NULL;
}

void config_add_registry(struct config *c, struct registry *r)
{
    c->registries = alloc_grow(c->registries, c->registry_count + 1, sizeof *c->registries);
    c->registries[c->registry_count++] = r;
}

/* Said twice in the same file, one of the two would be passed over in silence. */
static bool is_said_twice(const struct config *c, const char *key, const char *inner,
                          const struct option_mark *here, const struct option_mark *there,
                          struct mistakes *m)
{
    if (here->from != OPTION_FROM_FILE || there->from != OPTION_FROM_FILE)
        return false;
    mistakes_add(m, "%s:%u: %s: registries.docker.io.%s says it too, in line %u", c->path,
                 here->line, key, inner, there->line);
    return true;
}

static void override_text(const struct config *c, const char *key, const char *inner,
                          const char *value, const struct option_mark *mark, struct registry *hub,
                          struct mistakes *m)
{
    const struct option *o = option_find_key(&registry_options, inner);
    struct option_mark *there = option_mark(o, hub);
    if (mark->from == OPTION_FROM_DEFAULT || is_said_twice(c, key, inner, mark, there, m))
        return;
    option_set(o, hub, value, true, NULL); /* it passed the same check already */
    *there = *mark;
}

/* --upstream, --mirror, --username and --password-file speak of docker.io. */
static void apply_to_hub(struct config *c, struct mistakes *m)
{
    struct registry *hub = config_registry(c, "docker.io");
    bool is_meant = c->upstream_mark.from || c->mirror_mark.from || c->username_mark.from ||
                    c->password_file_mark.from;
    if (!is_meant)
        return;
    if (!hub)
        config_add_registry(c, hub = registry_new("docker.io"));
    override_text(c, "upstream", "origin", c->upstream, &c->upstream_mark, hub, m);
    override_text(c, "username", "username", c->username, &c->username_mark, hub, m);
    override_text(c, "password_file", "password_file", c->password_file, &c->password_file_mark,
                  hub, m);
    if (!c->mirror_mark.from ||
        is_said_twice(c, "mirror", "mirrors", &c->mirror_mark, &hub->mirrors_mark, m))
        return;
    registry_clear_mirrors(hub);
    hub->mirrors_mark = c->mirror_mark;
    for (size_t i = 0; c->mirror[i]; i++) {
        struct mirror_place *new = registry_add_mirror(hub);
        option_set(option_find_key(&registry_mirror_options, "url"), new, c->mirror[i], true, NULL);
    }
}

/* A path or an option in front of what is wrong with an option's value. */
static void add_mistake(const struct config *c, const char *name, const struct option_mark *mark,
                        const char *what, struct mistakes *m)
{
    if (mark->from == OPTION_FROM_FILE)
        mistakes_add(m, "%s:%u: %s: %s", c->path, mark->line, name, what);
    else
        mistakes_add(m, "%s: %s", name, what);
}

static void choose_default(struct config *c, struct mistakes *m)
{
    char name[256];
    if (reference_registry(slice_of(c->default_registry), name, sizeof name) &&
        config_registry(c, name))
        return;
    if (c->default_registry_mark.from != OPTION_FROM_DEFAULT) {
        add_mistake(c, "default_registry", &c->default_registry_mark,
                    "it is none of the registries", m);
        return;
    }
    /* A file that leaves docker.io out means the first that it names. */
    free(c->default_registry);
    c->default_registry = alloc_string(c->registries[0]->name);
}

static void check_pairs(const struct config *c, struct mistakes *m)
{
    for (size_t i = 0; i < c->registry_count; i++) {
        const struct registry *r = c->registries[i];
        autofree char *key = alloc_format("registries.%s.password_file", r->name);
        autofree char *own = alloc_format("registries.%s.client_key", r->name);
        if (r->password_file[0] && !r->username[0])
            add_mistake(c, key, &r->password_file_mark, "whose? there is no username", m);
        int ways = (r->username[0] != 0) + (r->token_file[0] != 0) + (r->docker_config[0] != 0) +
                   (r->credential_helper[0] != 0);
        const struct option_mark *last = r->credential_helper[0] ? &r->credential_helper_mark
                                         : r->docker_config[0]   ? &r->docker_config_mark
                                                                 : &r->token_file_mark;
        autofree char *whole = alloc_format("registries.%s", r->name);
        if (ways > 1)
            add_mistake(
                c, whole, last,
                "only one of username, token_file, docker_config and credential_helper can hold",
                m);
        if (r->client_key[0] && !r->client_certificate[0])
            add_mistake(c, own, &r->client_key_mark, "whose? there is no client_certificate", m);
    }
}

int config_load(struct config *c, const struct config_input *in, struct mistakes *m)
{
    size_t before = m->count;
    memset(c, 0, sizeof *c);
    option_init(&config_options, c);
    take_file(c, in, m);
    if (!in->is_file_only)
        take_environment(c, m);
    take_command(c, in->options, m);
    for (size_t i = 0; !c->is_closed && registry_known(i); i++)
        config_add_registry(c, registry_new(registry_known(i)));
    apply_to_hub(c, m);
    if (c->registry_count > 0) {
        choose_default(c, m);
        check_pairs(c, m);
    }
    return m->count > before ? -1 : 0;
}

/* Offline only imports bring anything, which look for room themselves, and nothing that went could
 * be had again: what others put on the disk drives out nothing. */
struct room_limits config_limits(const struct config *c, const char *mode)
{
    struct room_limits limits = {.budget_bytes = c->budget_bytes};
    if (strcmp(mode, "offline") != 0)
        option_share(c->keep_free, &limits.keep_free_bytes, &limits.keep_free_percent);
    return limits;
}

void config_fini(struct config *c)
{
    option_fini(&config_options, c);
    for (size_t i = 0; i < c->registry_count; i++)
        registry_free(c->registries[i]);
    free(c->registries);
    free(c->path);
    memset(c, 0, sizeof *c);
}

/* --- files that it names ---------------------------------------------------------------------- */

static void note_files_of(const struct config *c, const struct option_table *t, const void *of,
                          const char *where, struct mistakes *notes)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct option *o = &t->rows[i];
        const struct option_mark *mark =
            (const struct option_mark *)((const char *)of + o->mark_offset);
        if (o->type != OPTION_TEXT || strcmp(o->metavar, "FILE") != 0 ||
            (of == c && o->offset == offsetof(struct config, password_file)))
            continue; /* that one is docker.io's, and told of there */
        const char *name = *(char *const *)((const char *)of + o->offset);
        char key[NAME_MAX_BYTES];
        if (!name[0] || access(name, R_OK) == 0)
            continue;
        option_key(o, key, sizeof key);
        autofree char *what = alloc_format("%s cannot be read here: %m", name);
        autofree char *path = alloc_format("%s%s", where, key);
        add_mistake(c, path, mark, what, notes);
    }
}

void config_note_files(const struct config *c, struct mistakes *notes)
{
    note_files_of(c, &config_options, c, "", notes);
    for (size_t i = 0; i < c->registry_count; i++) {
        const struct registry *r = c->registries[i];
        autofree char *where = alloc_format("registries.%s.", r->name);
        note_files_of(c, &registry_options, r, where, notes);
        for (size_t k = 0; k < r->mirrors.count; k++) {
            autofree char *mirror = alloc_format("%smirrors[%zu].", where, k);
            note_files_of(c, &registry_mirror_options, &r->mirrors.all[k], mirror, notes);
        }
    }
}
