/* SPDX-License-Identifier: Apache-2.0
 * The standing of sources: what came of exchanges goes into their health, one log line tells when
 * one is left out and one when it is back, and those that were out are probed. Fetch thread only.
 * Inside of fetch/. */
#ifndef FETCH_STANDING_H
#define FETCH_STANDING_H

#include <stdbool.h>
#include <stdint.h>

#include "upstream/health.h"

struct error;
struct fetcher;
struct head;
struct source;
struct upstream;

void standing_sign(struct source *s, const struct head *head);
/* Content came whole: bytes in ms (0: too few to tell a throughput). */
void standing_succeed(const struct upstream *u, struct source *s, const char *repository,
                      uint64_t bytes, int64_t ms);
void standing_fail(const struct upstream *u, struct source *s, enum health_failure how,
                   const char *why);
/* What an exchange's failure says about its source. digest: what was asked for; NULL: by name. */
void standing_judge(const struct upstream *u, struct source *s, const char *repository,
                    const char *digest, const struct error *why);
/* It sent bytes which are not what their digest says; is_sole: nobody else had a part in them. */
void standing_blame(const struct upstream *u, struct source *s, bool is_sole,
                    const char *repository, const char *digest);
/* Is there a usable source of that content, other than this one and the avoided (bits)? */
bool standing_has_alternative(const struct upstream *u, const char *repository, const char *digest,
                              const struct source *than, uint32_t avoid);
/* One HEAD of that path, for which nobody waits, to each source whose time to be left out is up. */
void standing_probe(struct fetcher *f, const struct upstream *u, const char *repository,
                    const char *path, const char *accept);

#endif
