/* SPDX-License-Identifier: Apache-2.0
 * A person's YAML as a tree whose nodes know their lines. Only what lists of images need: maps,
 * lists and texts (numbers and the like are texts, too); an alias is a copy of what it stands for.
 * Bounded in depth and nodes, aliases included. The only folder that includes yaml.h is base. */
#ifndef BASE_YAML_TREE_H
#define BASE_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct error;

#define YAML_TREE_DEPTH_MAX 64
#define YAML_TREE_NODES_MAX 100000

enum yaml_kind { YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml_tree {
    enum yaml_kind kind;
    unsigned line; /* from 1; of an alias: where it stands */
    char *key;     /* within a map; else NULL */
    char *text;    /* of a YAML_TEXT, 0-terminated; else NULL */
    struct yaml_tree **items;
    size_t count;
};

/* The documents of a stream, as a YAML_LIST; owned, yaml_tree_free. NULL: ERR_CORRUPT, and *line is
 * where. */
struct yaml_tree *yaml_tree_parse(struct slice bytes, unsigned *line, struct error *e);
void yaml_tree_free(struct yaml_tree *t);
static inline void yaml_tree_auto_free_(struct yaml_tree **p)
{
    yaml_tree_free(*p);
}
#define autoyaml __attribute__((cleanup(yaml_tree_auto_free_)))

/* Of a map, or of what its "<<" merges into it: borrowed; NULL: nothing there, or no map. */
const struct yaml_tree *yaml_tree_get(const struct yaml_tree *t, const char *key);
/* The same, if it is of that kind. */
const struct yaml_tree *yaml_tree_get_kind(const struct yaml_tree *t, const char *key,
                                           enum yaml_kind kind);
/* "" unless a text stands there. */
const char *yaml_tree_text(const struct yaml_tree *t, const char *key);

#endif
