/* SPDX-License-Identifier: Apache-2.0
 * Bringing images ahead of their use, as pull and export do: by the server that runs on the data
 * folder, or by a mirror of this process where none does; told on stderr as it goes, by bars on a
 * terminal. SIGINT, SIGTERM and SIGHUP end it in order, a second one at once. */
#ifndef CLI_PULLING_H
#define CLI_PULLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bring_image;
struct config;
struct error;
struct list;

struct pulling {
    const struct config *config;
    const char *const *platforms; /* NULL-ended; NULL: every one */
    bool has_referrers, is_pinned, keeps_going;
    bool takes_all_tags; /* of a pattern every tag that matches, not only the newest */
};

/* The names of a command line, and of a file if there is one ("-": standard input). Added to the
 * list. -1: the mistake, of kind ERR_USAGE if it is the command line's. */
int pulling_read(char **names, size_t count, const char *from, struct list *out, struct error *e);

/* Each image says what came of it; why one could not be had stands on stderr by then. Patterns of
 * tags are resolved first, told on stderr. *images is owned. 0; or -1 if it could not be tried, or
 * was interrupted. */
int pulling_run(const struct pulling *p, const struct list *l, struct bring_image **images,
                size_t *count, struct error *e);

#endif
