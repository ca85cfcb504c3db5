/* SPDX-License-Identifier: Apache-2.0
 * What a bundle says of itself (tranship/bundle.json, docs/air-gap.md): a value, its text, and all
 * that can be checked without the blobs. An import of a stranger's archive makes one too. Pure, one
 * thread. */
#ifndef BUNDLE_CONTENTS_H
#define BUNDLE_CONTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/digest.h"
#include "oci/digests.h"

#define CONTENTS_MAX_BYTES (32u * 1024 * 1024)      /* of bundle.json: some 250,000 blobs */
#define CONTENTS_FILE_MAX_BYTES (20u * 1024 * 1024) /* of index.json: what containerd accepts */
#define BLOB_MAX_BYTES ((uint64_t)1 << 50)

struct error;
struct str;

/* Blobs, each once, with their sizes: sizes[number]. */
struct blob_list {
    struct digests digests;
    uint64_t *sizes;
    size_t room;
};
bool blob_list_add(struct blob_list *l, const struct digest *d, uint64_t size_bytes); /* is new */
uint64_t blob_list_bytes(const struct blob_list *l);                                  /* the sum */

struct contents_tag {
    char *name;
    struct digest digest; /* one of the manifests of that repository */
};

struct contents_repository {
    char *registry, *name; /* canonical */
    struct contents_tag *tags;
    size_t tag_count;
    struct digests tag_keys; /* of their names, to find them by */
    struct digests manifests;
    char **media_types; /* of each; "" unknown */
};

struct contents_file {
    char name[16]; /* oci-layout, index.json, manifest.json */
    struct digest digest;
    uint64_t size_bytes;
};
enum { CONTENTS_FILES_MAX = 3 };

struct contents {
    char *site, *created_at;
    uint64_t volume_bytes; /* 0: one volume of any size */
    char *receipt_site, *receipt_at;
    struct digest receipt; /* algorithm 0: made against none */
    struct contents_file files[CONTENTS_FILES_MAX];
    size_t file_count;
    struct contents_repository *repositories;
    size_t repository_count;
    struct digests repository_keys; /* of their names */
    struct blob_list blobs, absent;
};

/* Refuses (ERR_CORRUPT) another schema, names and digests that are none, sizes beyond any disk,
 * what is named twice, a tag of no manifest, a manifest that is neither in the bundle nor left out
 * of it. 0 or -1; contents_fini after 0 only. */
int contents_parse(const char *bytes, size_t length, struct contents *out, struct error *e);
void contents_print(const struct contents *c, struct str *out);
void contents_fini(struct contents *c);
#define autocontents __attribute__((cleanup(contents_fini)))

/* Building one. The repository of that name, made if it is new; valid until the next call. */
struct contents_repository *contents_repository(struct contents *c, const char *registry,
                                                const char *name);
/* false if it is there already. */
bool contents_add_manifest(struct contents_repository *r, const struct digest *d,
                           const char *media_type);
/* 1 new, 0 there already, -1 there with another digest. */
int contents_add_tag(struct contents_repository *r, const char *name, const struct digest *d);
void contents_add_file(struct contents *c, const char *name, const void *bytes, size_t length);
size_t contents_tag_count(const struct contents *c);

#endif
