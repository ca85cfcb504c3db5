/* SPDX-License-Identifier: Apache-2.0
 * What is held, as people see it: images by the names they have here, how much of each is there,
 * when it was last used. Reads the index, and small configs from the files; changes nothing. The
 * reader's thread; waits for the disk. */
#ifndef CACHE_IMAGES_H
#define CACHE_IMAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "oci/digest.h"

struct error;
struct index_reader;
struct store;

enum image_state {
    IMAGE_COMPLETE, /* what of it was begun is whole: each platform that is told can be pulled */
    IMAGE_PARTIAL,
    IMAGE_ABSENT, /* a pinned name of which nothing is here */
};

/* Borrowed during the visit. */
struct image {
    const char *registry, *repository; /* "": nobody knows any more, see index_open.c */
    const char *tag;                   /* "": it was pulled, or is pinned, by digest */
    struct digest digest;              /* algorithm 0: not known */
    enum image_state state;
    const char *platforms; /* of those held whole: "linux/amd64,linux/arm64"; "" if none says so */
    uint64_t size_bytes;   /* that are here, content that it names twice once */
    int64_t used_at; /* wall seconds, right to a minute: when its manifest was last asked for */
    int64_t hits;    /* how often that was served from here, as right */
    bool is_pinned;  /* this very name */
};

struct images_filter {
    const char *registry, *repository; /* NULL: all */
    const char *reference;             /* a tag, or a digest as text; NULL: all of the repository */
};

/* In the order of their names; visit returns false to stop. Count visited, or -1. */
int images_each(struct index_reader *r, struct store *s, const struct images_filter *f,
                bool (*visit)(const struct image *i, void *cls), void *cls, struct error *e);

#endif
