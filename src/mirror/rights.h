/* SPDX-License-Identifier: Apache-2.0
 * Who may have what is held: is it enough that a manifest of the repository names it? Content that
 * came by a credential is given under the names that it came from alone, and whoever can write a
 * manifest, at any registry, can name it. Any thread. */
#ifndef MIRROR_RIGHTS_H
#define MIRROR_RIGHTS_H

#include <stdbool.h>

struct digest;
struct index_reader;
struct upstream;
struct upstreams;

/* Being named is not enough for a repository of u: the registry knows us by a credential; or
 * another one does, and nobody without one is known to have given us that content. r may be NULL:
 * nothing is known. */
bool rights_want_proof(const struct upstreams *all, struct index_reader *r,
                       const struct upstream *u, const struct digest *d);

#endif
