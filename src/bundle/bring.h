/* SPDX-License-Identifier: Apache-2.0
 * Brings images into a mirror ahead of their use, as its client at the local door: from a name to
 * its manifests, from those to the config and the layers, and to what refers to them. What comes
 * goes the way of every client's pull (verified, shared with whoever asks for it too, by mirrors
 * and lanes) and only the mirror holds content: here are names and numbers. One thread. */
#ifndef BUNDLE_BRING_H
#define BUNDLE_BRING_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "oci/digest.h"
#include "oci/reference.h"

struct bring;

/* One image that was asked for, and what came of it. A thing that several images share counts as
 * come for the first of them, as held for the others. */
struct bring_image {
    struct reference name;
    struct digest digest; /* what the name means; algorithm 0: not known yet */
    unsigned came, held;  /* manifests and blobs */
    uint64_t came_bytes, held_bytes;
    int64_t took_ms;
    bool is_done; /* all of it is held and durable (and pinned) */
    struct error error;
};

/* A blob on its way. */
struct bring_layer {
    const struct bring_image *image;
    struct digest digest;
    int64_t size_bytes; /* -1: not known */
    uint64_t present_bytes, bytes_per_s;
};

struct bring_look {
    const struct bring_layer *layers; /* those on their way */
    size_t layer_count;
    size_t images_done, image_count;
    uint64_t came_bytes, held_bytes; /* of what is whole by now */
    unsigned blobs_done, blob_count; /* known of by now */
};

struct bring_options {
    const char *data;             /* of the mirror */
    const char *const *platforms; /* NULL-ended; NULL: every one */
    bool has_referrers;           /* signatures, SBOMs, and their tags */
    bool is_pinned;
    bool keeps_going;                        /* after an image that could not be had */
    const volatile sig_atomic_t *is_stopped; /* looked at now and then */
    /* All may be NULL. */
    void (*note)(const char *line, void *cls);
    void (*blob_came)(const struct bring_layer *l, void *cls);
    void (*image_ended)(const struct bring_image *i, void *cls);
    void (*look)(const struct bring_look *l, void *cls); /* some times a second */
    void *cls;
};

/* Borrows both; images are count of them, zeroed but for the name. */
struct bring *bring_new(const struct bring_options *o, struct bring_image *images, size_t count);
void bring_free(struct bring *b);
/* 0: ended, the images say how (those after a failure may be neither done nor failed); 1: no mirror
 * runs on that folder, or it ended meanwhile: what is not done is left for another call; -1: asked
 * to stop (ERR_STOPPING), or the mirror cannot be asked. Waits. */
int bring_run(struct bring *b, struct error *e);

#endif
