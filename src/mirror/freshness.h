/* SPDX-License-Identifier: Apache-2.0
 * When a tag is asked again. Pure: what is known and the time in, a decision out. */
#ifndef MIRROR_FRESHNESS_H
#define MIRROR_FRESHNESS_H

#include <stdbool.h>
#include <stdint.h>

enum mirror_mode { MODE_ONLINE, MODE_PREFER_CACHE, MODE_OFFLINE };

struct freshness_rules {
    enum mirror_mode mode;
    int64_t tag_ttl_ms;      /* a tag confirmed this lately is not asked again */
    int64_t negative_ttl_ms; /* a 404 is believed this long */
    int64_t retry_ms; /* a failed confirmation: the held one is served this long without asking */
};

/* All in wall milliseconds; 0: never. */
struct freshness {
    bool is_held;          /* digest known and its manifest here */
    bool is_immutable;     /* a tag that never moves: what was confirmed once stays so */
    int64_t checked_at_ms; /* the upstream confirmed it */
    int64_t failed_at_ms;  /* the upstream could not be asked */
    int64_t missing_at_ms; /* the upstream said 404 */
};

enum freshness_verdict {
    FRESH_SERVE,        /* as it is */
    FRESH_SERVE_STALE,  /* as it is, saying that it is old */
    FRESH_SERVE_BEHIND, /* as it is, and ask behind the client's back */
    FRESH_ASK,          /* the upstream */
    FRESH_MISSING,      /* 404 without asking */
    FRESH_OFFLINE,      /* 404 because nothing may be dialled */
};
enum freshness_verdict freshness_judge(const struct freshness_rules *r, const struct freshness *f,
                                       int64_t now_ms);

/* The last one who was asked could not tell: what is held is served as stale. */
bool freshness_is_in_doubt(const struct freshness *f);

/* A row's seconds in milliseconds; what no clock can have told is 0. */
int64_t freshness_ms_of(int64_t wall_s);

/* "online", "prefer-cache", "offline" */
bool freshness_mode_parse(const char *word, enum mirror_mode *mode);

#endif
