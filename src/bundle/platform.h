/* SPDX-License-Identifier: Apache-2.0
 * Platforms as indexes and users write them: "linux/arm64", "linux/arm/v7". Pure, any thread. */
#ifndef BUNDLE_PLATFORM_H
#define BUNDLE_PLATFORM_H

#include <stdbool.h>

#define PLATFORMS_MAX 32

struct error;
struct manifest;

struct platforms {
    char *text;                          /* private; owned */
    const char *list[PLATFORMS_MAX + 1]; /* NULL-ended; empty: all of them */
};

/* "linux/amd64,linux/arm64", or "all". platforms_fini after success. -1: ERR_USAGE. */
int platforms_read(const char *text, struct platforms *out, struct error *e);
void platforms_fini(struct platforms *p);
#define autoplatforms __attribute__((cleanup(platforms_fini)))
const char *const *platforms_list(const struct platforms *p); /* NULL: all of them */

/* Is it that platform, or a variant of it? */
bool platform_is(const char *platform, const char *wanted);
/* Of an index's child ("" where it says none): wanted is NULL-ended; NULL: all. */
bool platform_is_wanted(const char *platform, const char *const *wanted);
/* 0 if an index has a child for each of them; else -1 and ERR_NOT_FOUND, saying what it has. */
int platform_check(const struct manifest *index, const char *const *wanted, struct error *e);
/* Of this machine. */
const char *platform_here(void);
/* Of a machine as uname names it. */
const char *platform_of_machine(const char *machine);

#endif
