/* SPDX-License-Identifier: Apache-2.0
 * Lists of images as people have them: a text file (an image a line, # comments), a compose file,
 * Kubernetes manifests, the image lists of hauler and of skopeo sync. Every mistake names file and
 * line. Pure but for the lookup of a compose file's variables. */
#ifndef BUNDLE_LIST_H
#define BUNDLE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "oci/reference.h"

struct error;

#define LIST_MAX_BYTES (8u * 1024 * 1024)
#define LIST_ITEMS_MAX 10000

/* One image, or a pattern of tags (oci/tag_pattern.h): then name has neither tag nor digest. */
struct list_item {
    struct reference name;
    char *pattern;  /* owned; NULL: none */
    bool takes_all; /* every tag that matches, not only the newest */
    char *place;    /* "FILE:LINE"; owned; NULL: of the command line */
};

struct list { /* zeroed is empty */
    struct list_item *items;
    size_t count;
};

/* An image or REPOSITORY:PATTERN as it stands on a command line. -1: ERR_NAME_INVALID and such. */
int list_add(struct list *l, struct slice text, struct error *e);
/* Everything that a file names. variable: of a compose file; NULL: not set. -1 (ERR_CORRUPT): what
 * was there before is still there. A file that names no image is refused. */
int list_read(struct list *l, const char *file, struct slice bytes,
              const char *(*variable)(const char *name), struct error *e);
void list_fini(struct list *l);
#define autolist __attribute__((cleanup(list_fini)))

/* "${NAME:-default}" and its like, as compose has them; appended. -1: not set, or not understood.
 */
int list_interpolate(const char *text, const char *(*variable)(const char *name), struct str *out,
                     struct error *e);

#endif
