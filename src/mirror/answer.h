/* SPDX-License-Identifier: Apache-2.0
 * The answer to one question, perhaps not known yet: what a handler waits for without a thread.
 * Written once by whoever finds it, then read only. Counted: each asker, the flights table and the
 * finder hold one. Any thread. */
#ifndef MIRROR_ANSWER_H
#define MIRROR_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/error.h"
#include "cache/flow.h"
#include "cache/prune.h"
#include "mirror/content.h"

enum answer_kind {
    ANSWER_CONTENT, /* held: content */
    ANSWER_FLOW,    /* on its way in: flow (which may still fail) */
    ANSWER_HEAD,    /* known by its descriptor only: digest, size_bytes, media_type */
    ANSWER_SURVEY,  /* survey: what is remembered of sources */
    ANSWER_DONE,    /* nothing more to say */
    ANSWER_LISTING, /* items: comma-joined compact JSON */
    ANSWER_ERROR,   /* error */
};

enum cache_outcome {
    CACHE_HIT,
    CACHE_STORED,
    CACHE_COLLAPSED,
    CACHE_REVALIDATED,
    CACHE_STALE,
    CACHE_FORWARDED,
    CACHE_NONE /* of no answer: an error, or a page that is not a registry's */
};

struct answer {
    /* Good once done; immutable then. */
    enum answer_kind kind;
    enum cache_outcome cache;
    int upstream_status;   /* CACHE_STALE: what the upstream said; 0: nothing */
    int64_t checked_at_ms; /* of a tag or listing: wall milliseconds when the upstream confirmed it;
                              0: no such */
    struct content *content;
    struct flow *flow;
    struct digest digest;
    uint64_t size_bytes;
    char media_type[MEDIA_TYPE_MAX + 1];
    char *items;
    struct survey *survey;
    struct pruned pruned; /* ANSWER_DONE, of an import */
    struct error error;
};

const char *answer_cache_name(enum cache_outcome cache); /* "hit", for log and metrics */

struct answer *answer_new(void);
struct answer *answer_ref(struct answer *a);
void answer_unref(struct answer *a);
AUTO_UNREF(answer, answer_unref)

void answer_finish(struct answer *a); /* once, after filling: wakes all waiters */
bool answer_is_done(struct answer *a);
/* As flow_await: false, and w forgotten, if it is done already; else w->wake is called once. */
bool answer_await(struct answer *a, struct waiter *w);

#endif
