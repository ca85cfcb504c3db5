/* SPDX-License-Identifier: Apache-2.0
 * Which bytes of a file are present: sorted parts that neither touch nor overlap, and their form on
 * disk. Pure; whoever owns it guards it. */
#ifndef CACHE_SEGMENTS_H
#define CACHE_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str;

struct segment {
    uint64_t first, end; /* end: the byte after it */
};
struct segments { /* {0} is empty */
    struct segment *parts;
    size_t count, room;
};

void segments_fini(struct segments *s); /* empty again */
void segments_add(struct segments *s, uint64_t first, uint64_t end);
void segments_remove(struct segments *s, uint64_t first, uint64_t end);
void segments_subtract(struct segments *s, const struct segments *other);
bool segments_meet(const struct segments *s, const struct segments *other); /* in some byte */
/* Joins the parts that are nearest to each other, what lies between them included, until there are
 * no more than most. */
void segments_thin(struct segments *s, size_t most);
/* The first byte at or after from that is present; UINT64_MAX: none. */
uint64_t segments_next(const struct segments *s, uint64_t from);
uint64_t segments_from(const struct segments *s, uint64_t offset); /* present ones from there on */
uint64_t segments_sum(const struct segments *s);
uint64_t segments_end(const struct segments *s); /* the byte after the last present one; 0: none */
/* The first hole at or after from: false if there is none before size (UINT64_MAX: not known).
 * *length is UINT64_MAX if it has no known end. */
bool segments_hole(const struct segments *s, uint64_t from, uint64_t size, uint64_t *offset,
                   uint64_t *length);

/* The map: a line "tranship-map 1 <size or -1>", then "first end" a line. Reading adds to what is
 * there; false, and nothing added, if it is no such map or says that nothing is present. */
void segments_print(const struct segments *s, int64_t size, struct str *out);
bool segments_read(struct segments *s, const char *text, int64_t *size);

#endif
