/* SPDX-License-Identifier: Apache-2.0
 * Forgetting on demand. A name (a tag, or a digest in a repository) is forgotten; if nothing else
 * here names what it meant, that goes, and with it what only it names and what speaks of it. A bare
 * digest goes whoever names it, and what only it names. A pin keeps nothing from that but what is
 * pinned by a name of its own. */
#ifndef CACHE_REMOVAL_H
#define CACHE_REMOVAL_H

#include "cache/keep.h"

/* A keep_work. {"images": ["alpine:3", "ghcr.io/o/r@sha256:…", "sha256:…"]}: of each "image",
 * "digest", "blobs" and "freed" (bytes) of what went, and "kept_by", a name because of which it
 * stays, or null. If nothing is held of one of them nothing is done: ERR_NOT_FOUND. */
int removal_work(const struct keep *k, struct slice request, struct str *report, struct error *e);

#endif
