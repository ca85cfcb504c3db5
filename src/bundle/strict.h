/* SPDX-License-Identifier: Apache-2.0
 * Reads our own format into the stage, and believes none of it. Inside bundle only. */
#ifndef BUNDLE_STRICT_H
#define BUNDLE_STRICT_H

#include <stdbool.h>

struct error;
struct intake;

/* By its first block, unpacked if it is packed. */
int strict_is_ours(const char *path, bool *is_ours, struct error *e);
/* One volume, or a folder. A volume that fails takes with it what it staged. */
int strict_take(struct intake *in, const char *path, struct error *e);
int strict_take_folder(struct intake *in, int folder, struct error *e);

#endif
