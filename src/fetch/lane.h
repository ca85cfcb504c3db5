/* SPDX-License-Identifier: Apache-2.0
 * One transfer of one part of a flow from one source, beside others: it begins with a Range that
 * names its end, and its end may come nearer while it runs. What goes wrong with it is no fault of
 * its source: that may simply not want a second connection. Fetch thread only. Inside of fetch/. */
#ifndef FETCH_LANE_H
#define FETCH_LANE_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct fetcher;
struct flow;
struct lane;
struct source;

struct lane_request {
    struct source *source;
    const char *repository, *path;
    struct flow *flow;          /* its size is known; outlives the lane */
    uint64_t first, end;        /* the part: end is the byte after it */
    void (*on_news)(void *cls); /* bytes were written */
    /* The end, once, never from within lane_start: the lane is freed after it returns. why NULL:
     * all of its part came. is_refused: the source will have no such transfer (no ranges, a limit).
     */
    void (*on_done)(void *cls, struct lane *l, bool is_refused, const struct error *why);
    void *cls;
};

/* Strings are copied. NULL if it cannot even begin. */
struct lane *lane_start(struct fetcher *f, const struct lane_request *r);
void lane_cancel(struct lane *l); /* without on_done; frees */

uint64_t lane_at(const struct lane *l); /* the next byte that it expects */
uint64_t lane_end(const struct lane *l);
void lane_shorten(struct lane *l, uint64_t end); /* to no less than lane_at */
uint64_t lane_received(const struct lane *l);
struct source *lane_source(const struct lane *l);

#endif
