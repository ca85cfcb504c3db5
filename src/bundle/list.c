/* SPDX-License-Identifier: Apache-2.0
 * Which form a file has is told by what it holds, not by its name. Of Kubernetes' many kinds none
 * is known: wherever a list of containers stands there is a pod. */
#include "bundle/list.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/yaml_tree.h"
#include "oci/tag_pattern.h"

struct reading {
    struct list *list;
    const char *file;
    const char *(*variable)(const char *name);
    struct error *error;
};

void list_fini(struct list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->items[i].pattern);
        free(l->items[i].place);
    }
    free(l->items);
    *l = (struct list){0};
}

/* REPOSITORY:PATTERN, cut at the colon behind the last slash. */
static bool cut_pattern(struct slice text, struct slice *name, struct slice *pattern)
{
    struct slice host, rest = text;
    slice_cut_last(text, '/', &host, &rest);
    if (memchr(rest.at, '@', rest.length) || !slice_cut(rest, ':', &rest, pattern) ||
        !tag_pattern_looks_like(*pattern))
        return false;
    *name = slice_sub(text, 0, (size_t)(pattern->at - text.at) - 1);
    return true;
}

static int parse(struct slice text, struct list_item *out, struct error *e)
{
    struct slice name, pattern;
    if (!cut_pattern(text, &name, &pattern))
        return reference_parse(text, &out->name, e);
    if (tag_pattern_check(pattern, e) < 0 || reference_parse(name, &out->name, e) < 0)
        return -1;
    out->name.tag[0] = 0;
    out->pattern = slice_dup(pattern);
    return 0;
}

static struct list_item *append(struct list *l, const struct list_item *item)
{
    if ((l->count & (l->count - 1)) == 0)
        l->items = alloc_grow(l->items, l->count ? l->count * 2 : 1, sizeof *l->items);
    l->items[l->count] = *item;
    return &l->items[l->count++];
}

static struct list_item *add_text(struct list *l, struct slice text, struct error *e)
{
    struct list_item item = {0};
    if (l->count >= LIST_ITEMS_MAX) {
        error_set(e, ERR_USAGE, "more than %d images", LIST_ITEMS_MAX);
        return NULL;
    }
    if (parse(text, &item, e) == 0)
        return append(l, &item);
    error_prefix(e, "%.*s", text.length > 100 ? 100 : (int)text.length, text.at);
    return NULL;
}

int list_add(struct list *l, struct slice text, struct error *e)
{
    return add_text(l, text, e) ? 0 : -1;
}

/* --- places ----------------------------------------------------------------------------------- */

static int wrong(const struct reading *r, unsigned line)
{
    error_prefix(r->error, "%s:%u", r->file, line);
    if (r->error)
        r->error->kind = ERR_CORRUPT;
    return -1;
}

static struct list_item *add_named(const struct reading *r, struct slice text, unsigned line)
{
    struct list_item *item = add_text(r->list, text, r->error);
    if (item)
        item->place = alloc_format("%s:%u", r->file, line);
    else
        wrong(r, line);
    return item;
}

static int add(const struct reading *r, struct slice text, unsigned line)
{
    return add_named(r, text, line) ? 0 : -1;
}

static int refuse(const struct reading *r, const struct yaml_tree *at, const char *why)
{
    error_set(r->error, ERR_CORRUPT, "%s", why);
    return wrong(r, at->line);
}

static int add_node(const struct reading *r, const struct yaml_tree *t)
{
    if (t->kind != YAML_TEXT)
        return refuse(r, t, "an image's name should stand here");
    return add(r, slice_of(t->text), t->line);
}

/* --- text ------------------------------------------------------------------------------------- */

static struct slice without_comment(struct slice line)
{
    for (size_t i = 0; i < line.length; i++)
        if (line.at[i] == '#' && (i == 0 || isspace((unsigned char)line.at[i - 1])))
            line.length = i;
    while (line.length > 0 && isspace((unsigned char)line.at[line.length - 1]))
        line.length--;
    return slice_trim(line);
}

static bool next_line(struct slice *rest, struct slice *line)
{
    if (rest->length == 0)
        return false;
    if (!slice_cut(*rest, '\n', line, rest)) {
        *line = *rest;
        rest->length = 0;
    }
    return true;
}

/* What no line of a text file has: a key with its colon, an item's dash, a document's head. */
static bool is_yaml(struct slice bytes)
{
    struct slice rest = bytes, line;
    while (next_line(&rest, &line)) {
        line = without_comment(line);
        if (line.length == 0)
            continue;
        if ((line.at[0] && strchr("-{%[\"'", line.at[0])) || line.at[line.length - 1] == ':')
            return true;
        for (size_t i = 0; i + 1 < line.length; i++)
            if (line.at[i] == ':' && isspace((unsigned char)line.at[i + 1]))
                return true;
        return false;
    }
    return false;
}

static int read_text(const struct reading *r, struct slice bytes)
{
    struct slice rest = bytes, line;
    for (unsigned number = 1; next_line(&rest, &line); number++) {
        line = without_comment(line);
        if (line.length > 0 && add(r, line, number) < 0)
            return -1;
    }
    return 0;
}

/* --- compose ---------------------------------------------------------------------------------- */

/* What stands for a variable: its value, its default, a word for "set", or an error. */
static int substitute(struct slice inside, const char *(*variable)(const char *name),
                      struct str *out, struct error *e)
{
    char name[128];
    size_t n = 0;
    while (n < inside.length && (isalnum((unsigned char)inside.at[n]) || inside.at[n] == '_'))
        n++;
    struct slice rest = slice_sub(inside, n, inside.length);
    bool has_colon = slice_starts(rest, ":");
    rest = slice_sub(rest, has_colon, rest.length);
    if (n == 0 || !slice_copy(slice_sub(inside, 0, n), name, sizeof name) ||
        (rest.length > 0 && !strchr("-?+", rest.at[0])) || (rest.length == 0 && has_colon))
        return error_set(e, ERR_CORRUPT, "${%.*s}: not understood",
                         inside.length > 60 ? 60 : (int)inside.length, inside.at);
    const char *value = variable ? variable(name) : NULL;
    bool is_set = value && (!has_colon || *value);
    struct slice word = slice_sub(rest, 1, rest.length);
    if (rest.length > 0 && memchr(word.at, '$', word.length))
        return error_set(e, ERR_CORRUPT, "${%s}: a variable within a variable", name);
    if (rest.length > 0 && rest.at[0] == '+')
        str_add_bytes(out, word.at, is_set ? word.length : 0);
    else if (is_set)
        str_add(out, value);
    else if (rest.length > 0 && rest.at[0] == '-')
        str_add_bytes(out, word.at, word.length);
    else if (rest.length > 1)
        return error_set(e, ERR_CORRUPT, "%s is not set: %.*s", name,
                         word.length > 100 ? 100 : (int)word.length, word.at);
    else
        return error_set(e, ERR_CORRUPT, "%s is not set", name);
    return 0;
}

int list_interpolate(const char *text, const char *(*variable)(const char *name), struct str *out,
                     struct error *e)
{
    while (*text) {
        size_t n = strcspn(text, "$");
        str_add_bytes(out, text, n);
        text += n;
        if (!*text)
            break;
        text++;
        if (*text == '$') {
            str_add_char(out, *text++);
            continue;
        }
        size_t length = 0;
        bool has_brace = *text == '{';
        text += has_brace;
        if (has_brace)
            length = strcspn(text, "}");
        while (!has_brace && (isalnum((unsigned char)text[length]) || text[length] == '_'))
            length++;
        if (has_brace && text[length] != '}')
            return error_set(e, ERR_CORRUPT, "a ${ without its }");
        if (substitute((struct slice){text, length}, variable, out, e) < 0)
            return -1;
        text += length + has_brace;
    }
    return 0;
}

static int read_services(const struct reading *r, const struct yaml_tree *services)
{
    for (size_t i = 0; i < services->count; i++) {
        const struct yaml_tree *image = yaml_tree_get(services->items[i], "image");
        autostr struct str name = {0};
        if (!image)
            continue; /* built, not pulled */
        if (image->kind != YAML_TEXT)
            return add_node(r, image);
        if (list_interpolate(image->text, r->variable, &name, r->error) < 0)
            return wrong(r, image->line);
        if (add(r, slice_of(str_text(&name)), image->line) < 0)
            return -1;
    }
    return 0;
}

/* --- skopeo sync ------------------------------------------------------------------------------ */

static int add_tagged(const struct reading *r, const char *registry, const char *repository,
                      const char *tag, unsigned line)
{
    autofree char *name = alloc_format("%s/%s%s%s", registry, repository,
                                       strncmp(tag, "sha256:", 7) == 0 ? "@" : ":", tag);
    struct list_item *item = add_named(r, slice_of(name), line);
    if (!item)
        return -1;
    item->takes_all = true;
    return 0;
}

/* "images": REPOSITORY: [TAG, …]; none means all of them. */
static int read_tagged(const struct reading *r, const char *registry,
                       const struct yaml_tree *repository)
{
    if (repository->kind == YAML_MAP)
        return refuse(r, repository, "a list of tags should stand here");
    for (size_t i = 0; i < repository->count; i++) {
        const struct yaml_tree *tag = repository->items[i];
        if (tag->kind != YAML_TEXT)
            return refuse(r, tag, "a tag should stand here");
        if (add_tagged(r, registry, repository->key, tag->text, tag->line) < 0)
            return -1;
    }
    return repository->count > 0 ? 0
                                 : add_tagged(r, registry, repository->key, "*", repository->line);
}

static int read_registry(const struct reading *r, const struct yaml_tree *registry)
{
    const struct yaml_tree *images = yaml_tree_get_kind(registry, "images", YAML_MAP),
                           *ranges = yaml_tree_get_kind(registry, "images-by-semver", YAML_MAP),
                           *regexes = yaml_tree_get(registry, "images-by-tag-regex");
    if (regexes)
        return refuse(r, regexes, "tags by regular expression are not understood; write patterns");
    for (size_t i = 0; images && i < images->count; i++)
        if (read_tagged(r, registry->key, images->items[i]) < 0)
            return -1;
    for (size_t i = 0; ranges && i < ranges->count; i++) {
        const struct yaml_tree *range = ranges->items[i];
        if (range->kind != YAML_TEXT)
            return refuse(r, range, "a range of versions should stand here");
        if (add_tagged(r, registry->key, range->key, range->text, range->line) < 0)
            return -1;
    }
    return 0;
}

/* --- Kubernetes, hauler ----------------------------------------------------------------------- */

static bool is_containers(const char *key)
{
    return key && (strcmp(key, "containers") == 0 || strcmp(key, "initContainers") == 0 ||
                   strcmp(key, "ephemeralContainers") == 0);
}

static int read_pods(const struct reading *r, const struct yaml_tree *t)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct yaml_tree *one = t->items[i];
        bool is_here = t->kind == YAML_MAP && one->kind == YAML_LIST && is_containers(one->key);
        for (size_t k = 0; is_here && k < one->count; k++) {
            const struct yaml_tree *image = yaml_tree_get(one->items[k], "image");
            if (image && add_node(r, image) < 0)
                return -1;
        }
        if (!is_here && read_pods(r, one) < 0)
            return -1;
    }
    return 0;
}

static int read_hauler(const struct reading *r, const struct yaml_tree *spec)
{
    const struct yaml_tree *images = yaml_tree_get_kind(spec, "images", YAML_LIST);
    for (size_t i = 0; images && i < images->count; i++) {
        const struct yaml_tree *name = yaml_tree_get(images->items[i], "name");
        if (add_node(r, name ? name : images->items[i]) < 0)
            return -1;
    }
    return 0;
}

static bool is_hauler(const struct yaml_tree *t)
{
    return strstr(yaml_tree_text(t, "apiVersion"), "hauler.cattle.io") &&
           strcmp(yaml_tree_text(t, "kind"), "Images") == 0;
}

static bool is_registry(const struct yaml_tree *t)
{
    return yaml_tree_get_kind(t, "images", YAML_MAP) || yaml_tree_get(t, "images-by-semver") ||
           yaml_tree_get(t, "images-by-tag-regex");
}

static int read_document(const struct reading *r, const struct yaml_tree *t)
{
    const struct yaml_tree *services = yaml_tree_get_kind(t, "services", YAML_MAP);
    bool is_kubernetes = yaml_tree_text(t, "kind")[0] != 0;
    if (is_hauler(t))
        return read_hauler(r, yaml_tree_get(t, "spec"));
    if (services && !is_kubernetes)
        return read_services(r, services);
    bool is_sync = false;
    for (size_t i = 0; t->kind == YAML_MAP && !is_kubernetes && i < t->count; i++)
        if (is_registry(t->items[i])) {
            is_sync = true;
            if (read_registry(r, t->items[i]) < 0)
                return -1;
        }
    for (size_t i = 0; t->kind == YAML_LIST && i < t->count; i++)
        if (t->items[i]->kind == YAML_TEXT && add_node(r, t->items[i]) < 0)
            return -1;
    return is_sync ? 0 : read_pods(r, t);
}

static int read_yaml(const struct reading *r, struct slice bytes)
{
    unsigned line = 0;
    autoyaml struct yaml_tree *all = yaml_tree_parse(bytes, &line, r->error);
    if (!all)
        return wrong(r, line);
    for (size_t i = 0; i < all->count; i++)
        if (read_document(r, all->items[i]) < 0)
            return -1;
    return 0;
}

/* --- a file ----------------------------------------------------------------------------------- */

int list_read(struct list *l, const char *file, struct slice bytes,
              const char *(*variable)(const char *name), struct error *e)
{
    autolist struct list found = {0};
    struct error why = {0};
    const struct reading r = {.list = &found, .file = file, .variable = variable, .error = &why};
    int result = is_yaml(bytes) ? read_yaml(&r, bytes) : read_text(&r, bytes);
    if (result == 0 && found.count == 0)
        result = error_set(&why, ERR_CORRUPT, "%s names no image", file);
    if (result == 0 && found.count > LIST_ITEMS_MAX - l->count)
        result = error_set(&why, ERR_CORRUPT, "%s: more than %d images", file, LIST_ITEMS_MAX);
    if (result < 0) {
        if (e)
            *e = why;
        return -1;
    }
    for (size_t i = 0; i < found.count; i++) {
        append(l, &found.items[i]);
        found.items[i] = (struct list_item){0};
    }
    return 0;
}
