/* SPDX-License-Identifier: Apache-2.0
 * What is wrong with a configuration: all of it, as lines for a person. Bounded; what is past the
 * bound is counted. One thread. */
#ifndef APP_MISTAKES_H
#define APP_MISTAKES_H

#include <stddef.h>
#include <stdio.h>

enum { MISTAKES_MAX = 100 };

struct mistakes {
    char **all;
    size_t count;    /* of all */
    size_t left_off; /* more than that */
};

void mistakes_add(struct mistakes *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A line each, with that before it. */
void mistakes_print(const struct mistakes *m, FILE *to, const char *before);
void mistakes_fini(struct mistakes *m);

#endif
