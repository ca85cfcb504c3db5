/* SPDX-License-Identifier: Apache-2.0
 * The bytes of a file, unpacked if it is packed with gzip or zstd, in order. */
#ifndef BUNDLE_INPUT_H
#define BUNDLE_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct error;
struct input;

/* A regular file. NULL and ERR_NOT_FOUND, ERR_IO, ERR_CORRUPT. */
struct input *input_open(const char *path, struct error *e);
void input_close(struct input *in); /* NULL is fine */

/* Until max or the end: the count, or -1. */
ssize_t input_read_some(struct input *in, void *into, size_t max, struct error *e);
/* Exactly that many; ERR_CORRUPT "… is cut" if there are fewer. */
int input_read(struct input *in, void *into, size_t length, struct error *e);
/* ERR_CORRUPT unless the next bytes are these. */
int input_expect(struct input *in, const void *bytes, size_t length, struct error *e);
/* Passes over; cheap if the file is not packed. false: it is, or they are not there. */
bool input_skip(struct input *in, uint64_t length);

#endif
