/* SPDX-License-Identifier: Apache-2.0
 * Names of images: repository, tag, and the whole host/repository:tag@digest as users write it.
 * Grammar: distribution-spec "Pulling manifests" and the reference library's 255 characters. Pure,
 * any thread. */
#ifndef OCI_REFERENCE_H
#define OCI_REFERENCE_H

#include <stdbool.h>

#include "base/str.h"
#include "oci/digest.h"

#define REPOSITORY_MAX 255
#define TAG_MAX 128

struct error;

bool reference_is_repository(
    struct slice name); /* path components only, no host; at most 255 bytes */
bool reference_is_tag(struct slice tag);
/* Does the first component of a name name a registry, as docker reads it: has it a dot or a port,
 * or is it localhost? */
bool reference_names_registry(struct slice first);

/* A user's image name taken apart. registry is canonical ("docker.io" for its aliases and where
 * none is named), docker.io's one-component names have "library/" added; tag is "latest" if neither
 * tag nor digest is given. */
struct reference {
    char registry[256];
    char repository[REPOSITORY_MAX + 1];
    char tag[TAG_MAX + 1]; /* "" if only a digest was given */
    struct digest digest;  /* algorithm 0 if none */
};
int reference_parse(struct slice text, struct reference *out,
                    struct error *e); /* 0 or -1 (ERR_NAME_INVALID …) */
/* Is it a digest and no name, written "sha256:…", or "@sha256:…" as `list` does? */
bool reference_is_digest(struct slice text, struct digest *out);

/* Appends the whole name: "docker.io/library/alpine:3", or with "@sha256:…" and no tag if there is
 * a digest. */
void reference_print(const struct reference *r, struct str *out);

/* "docker.io" for docker.io, index.docker.io, registry-1.docker.io in any case; otherwise a
 * lower-case copy. false if it is no host[:port] or does not fit. */
bool reference_registry(struct slice host, char *out, size_t out_bytes);

/* The tag that stands in for the referrers API: "sha256-<hex>" cut as distribution-spec's
 * "Referrers Tag Schema". */
void reference_fallback_tag(const struct digest *subject, char out[TAG_MAX + 1]);

#endif
