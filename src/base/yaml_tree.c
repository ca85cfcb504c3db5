/* SPDX-License-Identifier: Apache-2.0
 * Built from the events of libyaml. An anchor can be meant only once its node is whole, so nothing
 * contains itself; every copy counts against the bound. */
#include "base/yaml_tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/alloc.h"
#include "base/error.h"

enum { ANCHORS_MAX = 1000 };

struct anchor {
    char *name;
    const struct yaml_tree *node;
};

struct level {
    struct yaml_tree *node;
    char *key;    /* of the value to come */
    char *anchor; /* of the node itself */
};

struct reading {
    yaml_parser_t parser;
    struct level levels[YAML_TREE_DEPTH_MAX];
    size_t depth;
    struct anchor anchors[ANCHORS_MAX];
    size_t anchor_count, node_count;
    unsigned line;
    struct error *error;
};

void yaml_tree_free(struct yaml_tree *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->count; i++)
        yaml_tree_free(t->items[i]); /* as deep as was allowed */
    free(t->items);
    free(t->key);
    free(t->text);
    free(t);
}

static struct yaml_tree *node_new(struct reading *r, enum yaml_kind kind)
{
    struct yaml_tree *t = alloc_zero(sizeof *t);
    t->kind = kind;
    t->line = r->line;
    r->node_count++;
    return t;
}

static void append(struct yaml_tree *t, struct yaml_tree *child)
{
    if ((t->count & (t->count - 1)) == 0)
        t->items = alloc_grow(t->items, t->count ? t->count * 2 : 1, sizeof(struct yaml_tree *));
    t->items[t->count++] = child;
}

static struct yaml_tree *copy(struct reading *r, const struct yaml_tree *of)
{
    if (r->node_count >= YAML_TREE_NODES_MAX)
        return NULL;
    struct yaml_tree *t = node_new(r, of->kind);
    t->key = of->key ? alloc_string(of->key) : NULL;
    t->text = of->text ? alloc_string(of->text) : NULL;
    for (size_t i = 0; i < of->count; i++) {
        struct yaml_tree *child = copy(r, of->items[i]);
        if (!child) {
            yaml_tree_free(t);
            return NULL;
        }
        append(t, child);
    }
    return t;
}

static size_t height(const struct yaml_tree *t)
{
    size_t most = 0;
    for (size_t i = 0; i < t->count; i++) {
        size_t one = height(t->items[i]);
        most = one > most ? one : most;
    }
    return most + 1;
}

/* --- events ----------------------------------------------------------------------------------- */

/* A whole text or an alias's copy, or a list or map that begins: under the level above. -1: told,
 * and the node is gone. */
static int place(struct reading *r, struct yaml_tree *t)
{
    struct level *above = &r->levels[r->depth - 1];
    if (above->node->kind == YAML_MAP && !above->key) {
        bool is_text = t->kind == YAML_TEXT;
        above->key = is_text ? alloc_string(t->text) : NULL;
        yaml_tree_free(t);
        return is_text ? 0 : error_set(r->error, ERR_CORRUPT, "a key that is no text");
    }
    free(t->key);
    t->key = above->key;
    above->key = NULL;
    append(above->node, t);
    return 0;
}

static int remember(struct reading *r, const char *name, const struct yaml_tree *node)
{
    if (!name)
        return 0;
    if (r->anchor_count == ANCHORS_MAX)
        return error_set(r->error, ERR_CORRUPT, "more than %d anchors", ANCHORS_MAX);
    r->anchors[r->anchor_count++] = (struct anchor){alloc_string(name), node};
    return 0;
}

static int begin(struct reading *r, enum yaml_kind kind, const char *anchor)
{
    const struct level *above = &r->levels[r->depth - 1];
    if (r->depth == YAML_TREE_DEPTH_MAX)
        return error_set(r->error, ERR_CORRUPT, "nested deeper than %d", YAML_TREE_DEPTH_MAX);
    if (above->node->kind == YAML_MAP && !above->key)
        return error_set(r->error, ERR_CORRUPT, "a key that is no text");
    struct yaml_tree *t = node_new(r, kind);
    if (place(r, t) < 0)
        return -1;
    r->levels[r->depth++] =
        (struct level){.node = t, .anchor = anchor ? alloc_string(anchor) : NULL};
    return 0;
}

static int end(struct reading *r)
{
    struct level *l = &r->levels[--r->depth];
    int result = remember(r, l->anchor, l->node);
    free(l->anchor);
    free(l->key);
    return result;
}

static int take_text(struct reading *r, const yaml_event_t *event)
{
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (memchr(value, 0, length))
        return error_set(r->error, ERR_CORRUPT, "a text with a 0 in it");
    const struct level *above = &r->levels[r->depth - 1];
    bool is_key = above->node->kind == YAML_MAP && !above->key;
    struct yaml_tree *t = node_new(r, YAML_TEXT);
    t->text = slice_dup((struct slice){value, length});
    if (place(r, t) < 0)
        return -1;
    return is_key ? 0 : remember(r, (const char *)event->data.scalar.anchor, t);
}

static int take_alias(struct reading *r, const char *name)
{
    size_t i = r->anchor_count;
    while (i > 0 && strcmp(r->anchors[i - 1].name, name) != 0)
        i--;
    if (i == 0)
        return error_set(r->error, ERR_CORRUPT, "*%.60s stands for nothing that is whole", name);
    const struct yaml_tree *of = r->anchors[i - 1].node;
    if (r->depth + height(of) > YAML_TREE_DEPTH_MAX)
        return error_set(r->error, ERR_CORRUPT, "nested deeper than %d", YAML_TREE_DEPTH_MAX);
    struct yaml_tree *t = copy(r, of);
    if (!t)
        return error_set(r->error, ERR_CORRUPT, "more than %d nodes", YAML_TREE_NODES_MAX);
    return place(r, t);
}

static void forget_anchors(struct reading *r)
{
    while (r->anchor_count > 0)
        free(r->anchors[--r->anchor_count].name);
}

/* 1 the stream is over, 0, -1 */
static int take_event(struct reading *r, const yaml_event_t *event)
{
    if (r->node_count >= YAML_TREE_NODES_MAX)
        return error_set(r->error, ERR_CORRUPT, "more than %d nodes", YAML_TREE_NODES_MAX);
    switch (event->type) {
    case YAML_STREAM_END_EVENT:
        return 1;
    case YAML_SCALAR_EVENT:
        return take_text(r, event);
    case YAML_ALIAS_EVENT:
        return take_alias(r, (const char *)event->data.alias.anchor);
    case YAML_SEQUENCE_START_EVENT:
        return begin(r, YAML_LIST, (const char *)event->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
        return begin(r, YAML_MAP, (const char *)event->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return end(r);
    case YAML_DOCUMENT_END_EVENT:
        forget_anchors(r);
        return 0;
    default:
        return 0;
    }
}

static int read_events(struct reading *r)
{
    for (int got = 0; got < 1;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r->parser, &event)) {
            r->line = (unsigned)r->parser.problem_mark.line + 1;
            return error_set(r->error, ERR_CORRUPT, "%s",
                             r->parser.problem ? r->parser.problem : "no YAML");
        }
        r->line = (unsigned)event.start_mark.line + 1;
        got = take_event(r, &event);
        yaml_event_delete(&event);
        if (got < 0)
            return -1;
    }
    return 0;
}

struct yaml_tree *yaml_tree_parse(struct slice bytes, unsigned *line, struct error *e)
{
    struct error ignored = {0};
    struct reading *r = alloc_zero(sizeof *r);
    r->error = e ? e : &ignored;
    int is_ready = yaml_parser_initialize(&r->parser);
    assert(is_ready);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)bytes.at, bytes.length);
    struct yaml_tree *all = node_new(r, YAML_LIST);
    r->levels[r->depth++] = (struct level){.node = all};
    int result = read_events(r);
    for (; r->depth > 1; r->depth--) {
        free(r->levels[r->depth - 1].key);
        free(r->levels[r->depth - 1].anchor);
    }
    if (result < 0) {
        if (line)
            *line = r->line;
        yaml_tree_free(all);
        all = NULL;
    }
    forget_anchors(r);
    yaml_parser_delete(&r->parser);
    free(r);
    return all;
}

/* --- reading ---------------------------------------------------------------------------------- */

static const struct yaml_tree *get_own(const struct yaml_tree *t, const char *key)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->items[i]->key, key) == 0)
            return t->items[i];
    return NULL;
}

const struct yaml_tree *yaml_tree_get(const struct yaml_tree *t, const char *key)
{
    if (!t || t->kind != YAML_MAP)
        return NULL;
    const struct yaml_tree *found = get_own(t, key), *merged = get_own(t, "<<");
    if (found || !merged)
        return found;
    if (merged->kind == YAML_MAP)
        return yaml_tree_get(merged, key);
    for (size_t i = 0; i < merged->count && !found; i++)
        found = yaml_tree_get(merged->items[i], key);
    return found;
}

const struct yaml_tree *yaml_tree_get_kind(const struct yaml_tree *t, const char *key,
                                           enum yaml_kind kind)
{
    const struct yaml_tree *found = yaml_tree_get(t, key);
    return found && found->kind == kind ? found : NULL;
}

const char *yaml_tree_text(const struct yaml_tree *t, const char *key)
{
    const struct yaml_tree *found = yaml_tree_get_kind(t, key, YAML_TEXT);
    return found ? found->text : "";
}
