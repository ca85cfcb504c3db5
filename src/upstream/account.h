/* SPDX-License-Identifier: Apache-2.0
 * What was counted of each registry and source, kept by their names for as long as the process
 * lives: an upstream that another configuration replaces goes on with the counters of the one
 * before. Bounded; who comes too late shares the last place, "other". Sources are found or made by
 * whoever builds upstreams, one thread at a time; registries from any, as is counted and read. */
#ifndef UPSTREAM_ACCOUNT_H
#define UPSTREAM_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "upstream/health.h"

enum { ACCOUNT_REGISTRIES_MAX = 128, ACCOUNT_SOURCES_MAX = 1024 };

/* A registry's number, below ACCOUNT_REGISTRIES_MAX: the same for the same name, from 1 up; 0 is
 * "no registry". */
unsigned account_registry(const char *name);
const char *account_registry_name(unsigned number); /* NULL past the last */

struct account {
    const char *registry, *url, *role; /* role: "origin" or "mirror" */
    struct account *next;              /* private */
    _Atomic int64_t requests, bytes, limits, failures[HEALTH_FAILURES];
    struct histogram first_byte;
};

struct account *account_of(const char *registry, const char *url, bool is_origin);
const char *account_role(bool is_origin);
/* The oldest, or the next after that one; NULL: no more. */
const struct account *account_next(const struct account *a);

#endif
