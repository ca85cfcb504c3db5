/* SPDX-License-Identifier: Apache-2.0
 * What is configured of one registry, as plain data: registry.def and mirror.def as structs, and
 * the registries that are known with no configuration. One thread. */
#ifndef APP_REGISTRY_H
#define APP_REGISTRY_H

#include "app/option.h"

struct mirror_place {
#include "app/option_fields.h"
/* after the fields, which are macros until then */
#include "app/mirror.def"
};

struct mirror_list {
    struct mirror_place *all;
    size_t count;
};

struct registry {
    char *name; /* canonical */
    unsigned line;
#include "app/option_fields.h"
/* after the fields, which are macros until then */
#include "app/registry.def"
};

extern const struct option_table registry_options, registry_mirror_options;

/* With the defaults: its origin is https:// and its name, docker.io's another. Owned. */
struct registry *registry_new(const char *name);
void registry_free(struct registry *r);
/* The URL of its origin; borrowed until the origin is changed, into is for one made up. */
const char *registry_origin(const struct registry *r, char *into, size_t into_bytes);
/* A new mirror after the others, with the defaults; borrowed until the next. */
struct mirror_place *registry_add_mirror(struct registry *r);
void registry_clear_mirrors(struct registry *r);
/* The names of those known without configuration, the default one first; NULL past the last. */
const char *registry_known(size_t i);

#endif
