/* SPDX-License-Identifier: Apache-2.0
 * The tables of a registry's keys, and the list of public registries. */
#include "app/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static const struct option mirror_rows[] = {
#define OPTION_INTO struct mirror_place
#include "app/option_rows.h"
/* after the rows, which are macros until then */
#include "app/mirror.def"
};

static const struct option rows[] = {
#define OPTION_INTO struct registry
#include "app/option_rows.h"
/* after the rows, which are macros until then */
#include "app/registry.def"
};

const struct option_table registry_options = {rows, sizeof rows / sizeof *rows};
const struct option_table registry_mirror_options = {mirror_rows,
                                                     sizeof mirror_rows / sizeof *mirror_rows};

struct registry *registry_new(const char *name)
{
    struct registry *r = alloc_zero(sizeof *r);
    r->name = alloc_string(name);
    option_init(&registry_options, r);
    return r;
}

void registry_clear_mirrors(struct registry *r)
{
    for (size_t i = 0; i < r->mirrors.count; i++)
        option_fini(&registry_mirror_options, &r->mirrors.all[i]);
    free(r->mirrors.all);
    r->mirrors = (struct mirror_list){0};
}

void registry_free(struct registry *r)
{
    registry_clear_mirrors(r);
    option_fini(&registry_options, r);
    free(r->name);
    free(r);
}

struct mirror_place *registry_add_mirror(struct registry *r)
{
    struct mirror_list *l = &r->mirrors;
    l->all = alloc_grow(l->all, l->count + 1, sizeof *l->all);
    struct mirror_place *new = &l->all[l->count++];
    memset(new, 0, sizeof *new);
    option_init(&registry_mirror_options, new);
    return new;
}

const char *registry_origin(const struct registry *r, char *into, size_t into_bytes)
{
    if (r->origin[0])
        return r->origin;
    /* Docker Hub's content does not live where its name points. */
    snprintf(into, into_bytes, "https://%s",
             strcmp(r->name, "docker.io") == 0 ? "registry-1.docker.io" : r->name);
    return into;
}

const char *registry_known(size_t i)
{
    static const char *const known[] = {
        "docker.io",         "ghcr.io",        "quay.io", "registry.k8s.io",     "gcr.io",
        "mcr.microsoft.com", "public.ecr.aws", "lscr.io", "registry.gitlab.com", "nvcr.io",
        "docker.elastic.co"};
    return i < sizeof known / sizeof *known ? known[i] : NULL;
}
