/* SPDX-License-Identifier: Apache-2.0
 * What a pattern of tags means now: asked of the mirror that runs on a data folder, which knows the
 * registry's list. One thread; waits. */
#ifndef BUNDLE_TAGS_H
#define BUNDLE_TAGS_H

#include <stddef.h>

struct error;
struct list_item;

#define TAGS_FOUND_MAX 10000

struct tags { /* newest first */
    char **names;
    size_t count;
    size_t looked_at; /* how many there are */
};

/* All tags that the item's pattern matches. 0; 1: no mirror runs there; -1: none matches
 * (ERR_NOT_FOUND), too many do, or the list cannot be had. tags_fini after 0. */
int tags_find(const char *data, const struct list_item *item, struct tags *out, struct error *e);
void tags_fini(struct tags *t);
#define autotags __attribute__((cleanup(tags_fini)))

#endif
