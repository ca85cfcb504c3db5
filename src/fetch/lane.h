/* SPDX-License-Identifier: Apache-2.0
 * One transfer of one part of a flow from one source, beside others: it begins with a Range that
 * names its end, and its end may come nearer while it runs. What goes wrong with it is no fault of
 * its source: that may simply not want a second connection. Fetch thread only. Inside of fetch/. */
#ifndef FETCH_LANE_H
#define FETCH_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct fetcher;
struct lane;
struct part;
struct source;

struct lane_request {
    struct source *source;
    int source_index; /* for its part: plan.h */
    const char *repository, *path;
    uint64_t first, end; /* the part: end is the byte after it */
    uint64_t size;       /* of the blob */
    /* Bytes of its part, in order. -1 ends it. */
    int (*on_bytes)(void *cls, const struct lane *l, uint64_t offset, const void *bytes,
                    size_t length, struct error *e);
    /* The end, once, never from within lane_start: the lane is freed after it returns. why NULL:
     * all of its part came. is_refused: the source will have no such transfer (no ranges, a limit).
     */
    void (*on_done)(void *cls, struct lane *l, bool is_refused, const struct error *why);
    void *cls;
};

/* Strings are copied. NULL if it cannot even begin. */
struct lane *lane_start(struct fetcher *f, const struct lane_request *r);
void lane_cancel(struct lane *l); /* without on_done; frees */

struct part *lane_part(struct lane *l); /* of which others may take the far side */
uint64_t lane_received(const struct lane *l);
struct source *lane_source(const struct lane *l);

#endif
