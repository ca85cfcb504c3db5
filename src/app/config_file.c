/* SPDX-License-Identifier: Apache-2.0
 * Walks the file along the tables. Values never stand in a mistake unless a check put them there,
 * for a secret may have been written where none belongs. */
#include "app/config_file.h"

#include <stdio.h>
#include <string.h>

#include "app/config.h"
#include "app/mistakes.h"
#include "app/registry.h"
#include "base/error.h"
#include "base/json.h"
#include "base/json_lines.h"
#include "base/str.h"
#include "oci/reference.h"

enum { KEY_MAX_BYTES = 64 };

struct reading {
    struct config *config;
    const char *path;
    struct json_lines *lines;
    struct mistakes *mistakes;
};

static void wrong(struct reading *r, unsigned node, const char *what)
{
    autostr struct str key = {0};
    if (r->mistakes->count == MISTAKES_MAX) { /* the rest is only counted */
        mistakes_add(r->mistakes, "%s", what);
        return;
    }
    json_lines_path(r->lines, node, &key);
    mistakes_add(r->mistakes, "%s:%u: %s%s%s", r->path, json_lines_at(r->lines, node),
                 str_text(&key), key.length ? ": " : "", what);
}

/* One object of the file and the struct that it fills. */
struct walk {
    struct reading *reading;
    const struct option_table *table;
    void *into;
    unsigned node;
    const char *group; /* "tls." inside that key; "" */
    /* keys that are no row of the table; 1: taken */
    bool (*special)(struct walk *w, const char *key, const struct json_t *value, unsigned node);
};

static void walk_object(struct walk *w, const struct json_t *object);

static void unknown_key(struct walk *w, const char *key, unsigned node)
{
    char nearest[KEY_MAX_BYTES];
    char what[KEY_MAX_BYTES + 40] = "unknown key";
    const char *const registries[] = {w->node == 0 ? "registries" : NULL, NULL};
    if (strlen(key) < KEY_MAX_BYTES && str_nearest(key, registries))
        snprintf(what, sizeof what, "unknown key; the nearest is registries");
    else if (option_nearest(w->table, key, true, nearest, sizeof nearest))
        snprintf(what, sizeof what, "unknown key; the nearest is %s", nearest);
    wrong(w->reading, node, what);
}

static bool walk_member(const char *key, struct json_t *value, void *cls)
{
    struct walk *w = cls;
    struct error e = {0};
    char full[2 * KEY_MAX_BYTES];
    long item;
    struct json_lines *lines = w->reading->lines;
    unsigned node = json_lines_key(lines, w->node, key);
    if (w->special && w->special(w, key, value, node))
        return true;
    const struct option *o = NULL;
    if (snprintf(full, sizeof full, "%s%s", w->group, key) < (int)sizeof full)
        o = option_find_key(w->table, full);
    if (!o && strlen(full) < KEY_MAX_BYTES && option_has_group(w->table, full)) {
        char group[KEY_MAX_BYTES + 1];
        snprintf(group, sizeof group, "%.*s.", KEY_MAX_BYTES - 1, full);
        struct walk inner = *w;
        inner.node = node;
        inner.group = group;
        inner.special = NULL;
        walk_object(&inner, value);
    } else if (!o) {
        unknown_key(w, full, node);
    } else if (option_set_json(o, w->into, value, &item, &e) < 0) {
        wrong(w->reading, item < 0 ? node : json_lines_item(lines, node, (size_t)item), e.text);
    } else {
        *option_mark(o, w->into) =
            (struct option_mark){OPTION_FROM_FILE, json_lines_at(lines, node)};
    }
    return true;
}

static void walk_object(struct walk *w, const struct json_t *object)
{
    if (!json_is_object(object))
        wrong(w->reading, w->node, "wrong type: it must be an object, {...}");
    else
        json_each(object, walk_member, w);
}

static void read_mirror(struct reading *r, struct registry *registry, const struct json_t *value,
                        unsigned node)
{
    struct error e = {0};
    struct mirror_place *new = registry_add_mirror(registry);
    const char *text = json_text(value);
    if (text) {
        if (option_set(option_find_key(&registry_mirror_options, "url"), new, text, true, &e) < 0 ||
            option_check("URL", text, &e) < 0)
            wrong(r, node, e.text);
        return;
    }
    if (!json_is_object(value)) {
        wrong(r, node,
              "wrong type: it must be a URL as a text, \"...\", or an object, {\"url\": ...}");
        return;
    }
    struct walk w = {
        .reading = r, .table = &registry_mirror_options, .into = new, .node = node, .group = ""};
    walk_object(&w, value);
    if (!new->url[0] && json_lines_key(r->lines, node, "url") == node)
        wrong(r, node, "a mirror needs its \"url\"");
    else if (!new->url[0] && json_get_string(value, "url") && !json_get_string(value, "url")[0])
        wrong(r, node, "the \"url\" is empty");
    if (new->password_file[0] && !new->username[0])
        wrong(r, json_lines_key(r->lines, node, "password_file"), "whose? there is no username");
}

static bool take_mirrors(struct walk *w, const char *key, const struct json_t *value, unsigned node)
{
    struct registry *registry = w->into;
    if (strcmp(key, "mirrors") != 0)
        return false;
    if (!json_is_array(value)) {
        wrong(w->reading, node, "wrong type: it must be a list, [...], of URLs or objects");
        return true;
    }
    registry_clear_mirrors(registry); /* of a repeated key the last counts */
    for (size_t i = 0; i < json_count(value); i++)
        read_mirror(w->reading, registry, json_item(value, i),
                    json_lines_item(w->reading->lines, node, i));
    registry->mirrors_mark =
        (struct option_mark){OPTION_FROM_FILE, json_lines_at(w->reading->lines, node)};
    return true;
}

struct registries_walk {
    struct reading *reading;
    unsigned node;
};

static bool read_registry(const char *key, struct json_t *value, void *cls)
{
    struct registries_walk *all = cls;
    struct reading *r = all->reading;
    char name[256];
    unsigned node = json_lines_key(r->lines, all->node, key);
    if (!reference_registry(slice_of(key), name, sizeof name)) {
        wrong(r, node, "not the name of a registry: HOST or HOST:PORT");
        return true;
    }
    if (config_registry(r->config, name)) {
        wrong(r, node, "that registry is there already, under another of its names");
        return true;
    }
    struct registry *new = registry_new(name);
    new->line = json_lines_at(r->lines, node);
    config_add_registry(r->config, new);
    struct walk w = {.reading = r,
                     .table = &registry_options,
                     .into = new,
                     .node = node,
                     .group = "",
                     .special = take_mirrors};
    walk_object(&w, value);
    return true;
}

static bool take_registries(struct walk *w, const char *key, const struct json_t *value,
                            unsigned node)
{
    struct registries_walk all = {w->reading, node};
    if (strcmp(key, "registries") != 0)
        return false;
    size_t before = w->reading->mistakes->count;
    w->reading->config->is_closed = true;
    if (!json_is_object(value))
        wrong(w->reading, node, "wrong type: it must be an object, {\"docker.io\": {...}}");
    else
        json_each(value, read_registry, &all);
    if (w->reading->config->registry_count == 0 && w->reading->mistakes->count == before)
        wrong(w->reading, node,
              "it names no registry; without this key the well-known ones are there");
    return true;
}

void config_file_read(struct config *c, const char *path, const char *bytes, size_t length,
                      struct mistakes *m)
{
    struct error e = {0};
    unsigned line = 1;
    autojson struct json_t *document = json_parse_loose(bytes, length, &line, &e);
    if (!document) {
        mistakes_add(m, "%s:%u: not JSON: %s", path, line, e.text);
        return;
    }
    autojsonlines struct json_lines *lines = json_lines_new(bytes, length);
    struct reading r = {c, path, lines, m};
    for (unsigned i = 0; (i = json_lines_duplicate(lines, i)) != 0;)
        wrong(&r, i, "the key is there twice");
    struct walk w = {.reading = &r,
                     .table = &config_options,
                     .into = c,
                     .group = "",
                     .special = take_registries};
    walk_object(&w, document);
}
