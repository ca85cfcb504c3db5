/* SPDX-License-Identifier: Apache-2.0
 * What an export takes along: images as they are held here, the platforms asked for, everything
 * that refers to them. Fills a bundle's contents; writes nothing. Waits for the disk; one thread.
 */
#ifndef BUNDLE_SELECT_H
#define BUNDLE_SELECT_H

#include <stdbool.h>
#include <stddef.h>

#include "oci/reference.h"

struct contents;
struct error;
struct index_reader;
struct receipt;
struct store;

struct select_options {
    const struct reference *images;
    size_t image_count;
    bool is_all;                  /* every tag, and every manifest that was pulled by digest */
    const char *const *platforms; /* "linux/amd64", NULL-ended; NULL: all that are held whole */
    bool has_referrers;
    const struct receipt *since; /* or NULL */
    /* What was left out and why, one line each, or NULL. */
    void (*note)(const char *line, void *cls);
    void *cls;
};

/* One image as it was asked for: what index.json names. */
struct selected {
    struct reference name; /* tag "" if by digest */
    struct digest digest;
    char media_type[256];
    uint64_t size_bytes;
    struct digest image; /* the manifest that docker load takes: of this machine's platform if that
                            is in the bundle; algorithm 0: none is whole */
};

struct selection {
    struct selected *items;
    size_t count;
};

/* An image that was asked for by name and is not held whole fails (ERR_NOT_FOUND); with is_all it
 * is left out with a note. 0 or -1; selection_fini and contents_fini after either. */
int select_images(const struct select_options *o, struct store *s, struct index_reader *r,
                  struct selection *out, struct contents *c, struct error *e);
void selection_fini(struct selection *s);

/* The text of a held manifest (owned), parsed by its known type: 1, 0 not held, -1. */
struct manifest;
int select_read_manifest(struct store *s, const struct digest *d, const char *media_type,
                         char **bytes, size_t *length, struct manifest *m, struct error *e);

#endif
