/* SPDX-License-Identifier: Apache-2.0
 * Who takes how much of the disk, and whether more fits: blobs, the index, and content on its way
 * in, of which each has reserved what it will need before it is fetched. Two bounds, both may be
 * changed at any time: a budget for all of it, and what has to stay free on the file system. Counts
 * what it is told; the store tells it. Keeps no file and removes none: evict.h does. Any thread;
 * its mutex (RANK_ROOM) is held for a look-up only. */
#ifndef CACHE_ROOM_H
#define CACHE_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "oci/digest.h"

struct room;

struct room_limits {
    int64_t budget_bytes;      /* -1: none */
    int64_t keep_free_bytes;   /* of the file system; 0: as much as keep_free_percent says */
    int64_t keep_free_percent; /* of the file system's size */
};

/* folder: a descriptor on the file system, borrowed. Without limits until they are set, but for the
 * end of the disk. */
struct room *room_new(int folder);
void room_free(struct room *r);
void room_set_limits(struct room *r, const struct room_limits *l);

/* --- what is kept ----------------------------------------------------------------------------- */
int64_t room_of_file(uint64_t size_bytes); /* what a file of that size takes */
void room_add_blobs(struct room *r, int64_t bytes);
void room_set_blobs(struct room *r, int64_t bytes); /* counted anew */
void room_add_aside(struct room *r, int64_t bytes); /* what was set aside */
void room_set_index(struct room *r, int64_t bytes);
int64_t room_taken(struct room *r);
/* What may be taken in all: the budget, or up to where the file system would have less left than it
 * must keep free. INT64_MAX: nobody knows. */
int64_t room_limit(struct room *r);

int64_t room_budget(struct room *r); /* -1: none */
/* Nothing need go of that much, if nothing else is there. Pure. */
bool room_budget_holds(int64_t budget_bytes, int64_t bytes);

/* --- on its way in, by digest ----------------------------------------------------------------- */
/* Reserves what is missing to size_bytes in all: true, or false if that does not fit now. */
bool room_reserve(struct room *r, const struct digest *d, uint64_t size_bytes);
/* It could be made to fit, if all that may go went. */
bool room_could_fit(struct room *r, uint64_t size_bytes);
/* Somebody fills its file from here on, which has bytes already. */
void room_begin(struct room *r, const struct digest *d, uint64_t bytes);
/* Bytes more are about to be written, or (less than 0) went; reserves in steps what was not
 * reserved. false: no more fits, and nothing is noted. */
bool room_write(struct room *r, const struct digest *d, int64_t bytes);
/* Nobody fills it any more: what was written stays (also told of a file found at start; -1: as much
 * as there was). */
void room_rest(struct room *r, const struct digest *d, int64_t bytes);
void room_end(struct room *r, const struct digest *d); /* its file is gone, or a blob now */
/* The content on its way in that has rested longest, out of the table: its bytes, and its file is
 * the caller's to remove. 0: there is none. */
int64_t room_take_resting(struct room *r, struct digest *d);

/* --- making room ------------------------------------------------------------------------------ */
/* Somebody waits for that many bytes; taken back with the same number. */
void room_want(struct room *r, int64_t bytes);
/* How much has to go until percent of the limit are taken at most, and who waits is served. */
int64_t room_excess(struct room *r, int percent);
/* Nothing may go, so nobody need wait; until told otherwise. */
void room_set_stuck(struct room *r, bool is_stuck);
bool room_is_stuck(const struct room *r);
/* That content passes through unstored: counted, and told in the log, though not each time. */
void room_note_passing(struct room *r, const char *why);
/* The disk refused bytes. If it says that it has room all the same (a quota), the limit is a little
 * less than what is taken now, for a minute. */
void room_note_full(struct room *r);
/* The disk did not give back what was written: for a minute, what comes need not go there. */
void room_note_unreadable(struct room *r);
bool room_is_unreadable(const struct room *r);

#endif
