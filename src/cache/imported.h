/* SPDX-License-Identifier: Apache-2.0
 * Repositories of which something came by an import: their registries are served, from what is
 * held, whether the configuration names them or not. What was only pulled is not among them, so
 * that who takes a registry out of the configuration closes it. */
#ifndef CACHE_IMPORTED_H
#define CACHE_IMPORTED_H

#include <stdbool.h>

struct error;
struct index;
struct index_reader;

/* Within a transaction of the ledger's thread, once something of it is in the index. 0 or -1. */
int imported_put(struct index *x, const char *registry, const char *repository, struct error *e);
/* Is anything known of that repository, imported or not? 1, 0 or -1. */
int imported_is_known(struct index_reader *r, const char *registry, const char *repository,
                      struct error *e);
/* Their registries, each once; visit returns false to stop. Count visited or -1. */
int imported_each_registry(struct index_reader *r, bool (*visit)(const char *registry, void *cls),
                           void *cls, struct error *e);

#endif
