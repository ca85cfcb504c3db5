/* SPDX-License-Identifier: Apache-2.0
 * Manifests and indexes: which type a document really is, and what it names. Reads, never writes:
 * bytes are the identity. Pure, any thread. */
#ifndef OCI_MANIFEST_H
#define OCI_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "oci/digest.h"

#define MANIFEST_MAX_BYTES (4u * 1024 * 1024) /* what clients accept */
#define MEDIA_TYPE_MAX 255
#define NO_PLATFORM "unknown/unknown" /* of attestations: they go with every platform */

#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_ARTIFACT "application/vnd.oci.artifact.manifest.v1+json"

/* Sent to every upstream, whatever the client accepts, so that what is cached suits all clients. */
extern const char *const manifest_accept; /* comma-joined list of the five */

struct error;

enum child_kind { CHILD_MANIFEST, CHILD_CONFIG, CHILD_LAYER, CHILD_SUBJECT };

struct child {
    enum child_kind kind;
    struct digest digest;
    int64_t size_bytes; /* -1 if the descriptor has none */
    char *media_type;   /* "" if none; owned by the manifest */
    char *platform;     /* "os/architecture[/variant]" or "" */
};

struct manifest {
    char media_type[MEDIA_TYPE_MAX + 1];
    bool is_index;
    char *artifact_type;    /* its own, else the config's media type; "" for an index without one */
    char *annotations;      /* compact JSON object or "" */
    struct child *children; /* the subject too; none of an algorithm that nobody here can verify */
    size_t child_count;
};

/* Decides the true media type from the Content-Type of the answer (may be NULL) and the document,
 * and lists the children. Refuses (ERR_CORRUPT): no JSON object; both manifests and config/layers
 * (CVE-2021-41190); mediaType against Content-Type (GHSA-77vh-xpmg-72qh); text/html; what is no
 * type at all; a known type without its shape, or with a bad descriptor; more than 10,000 children.
 * Schema 1 is as good as absent: ERR_NOT_FOUND. A specific type that we do not know passes, with
 * the children that can be made out. 0 or -1; out must be freed by manifest_fini after success. */
int manifest_parse(const char *content_type, const char *bytes, size_t length, struct manifest *out,
                   struct error *e);
void manifest_fini(struct manifest *m);

/* A layer that registries need not give out ("foreign", "nondistributable"): it may be absent. */
bool manifest_may_lack(const struct child *c);
/* The type without parameters and spaces, lower-cased; "" for "". false, and out untouched, if it
 * is no type/subtype or does not fit. */
bool manifest_plain_type(struct slice content_type, char out[MEDIA_TYPE_MAX + 1]);
bool manifest_is_known_type(const char *media_type); /* one of the five above */

#endif
