/* SPDX-License-Identifier: Apache-2.0
 * The configuration file: JSON whose keys are those of config.def, and registries. One thread. */
#ifndef APP_CONFIG_FILE_H
#define APP_CONFIG_FILE_H

#include <stddef.h>

struct config;
struct mistakes;

/* Takes over what the file says (marks included); adds a line `PATH:LINE: KEY: what` for each
 * mistake and goes on behind it. c: with its defaults. path: for the lines. */
void config_file_read(struct config *c, const char *path, const char *bytes, size_t length,
                      struct mistakes *m);

#endif
