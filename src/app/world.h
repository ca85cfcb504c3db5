/* SPDX-License-Identifier: Apache-2.0
 * From what is configured to whom we may ask: the registries, their sources, their secrets. */
#ifndef APP_WORLD_H
#define APP_WORLD_H

#include <stdbool.h>

struct config;
struct mistakes;
struct upstreams;

/* Owned; NULL with mistakes added. reads_secrets: false leaves the files of passwords unread and
 * the credentials out, which is enough to check all the rest; otherwise every file that the
 * configuration names must be readable. A secret that everybody may read is logged as a warning.
 * Waits for the disk. */
struct upstreams *world_build(const struct config *c, bool reads_secrets, struct mistakes *m);

#endif
