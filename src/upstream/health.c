/* SPDX-License-Identifier: Apache-2.0
 * Sources are compared by coarse steps, not by numbers: a mirror that is 10 ms slower today keeps
 * its place in the operator's order. */
#include "upstream/health.h"

#include <string.h>

enum { MISSES_IN_A_ROW = 3, NEW_PART = 30 /* of 100, in a moving average */ };

void health_init(struct health *h, bool is_origin)
{
    memset(h, 0, sizeof *h);
    h->is_origin = is_origin;
    h->rate_limit = h->rate_remaining = -1;
}

static int64_t average(int64_t old, int64_t new, bool is_believed)
{
    if (new < 1)
        new = 1;
    return old > 0 && is_believed ? (old * (100 - NEW_PART) + new *NEW_PART) / 100 : new;
}

static bool is_measured(const struct health *h, int64_t now_ms)
{
    return h->measured_at_ms > 0 && now_ms - h->measured_at_ms < HEALTH_MEASURE_MS;
}

/* --- requests --------------------------------------------------------------------------------- */

void health_begin(struct health *h)
{
    h->under_way++;
}

void health_suspect(struct health *h, int64_t now_ms)
{
    h->suspicions++;
    h->suspected_at_ms = now_ms;
}

void health_sign(struct health *h, int64_t connect_ms, int64_t first_byte_ms, int64_t now_ms)
{
    bool is_believed = is_measured(h, now_ms);
    if (!is_believed)
        h->bytes_per_s = 0;
    if (connect_ms > 0)
        h->connect_ms = average(h->connect_ms, connect_ms, is_believed);
    h->first_byte_ms = average(h->first_byte_ms, first_byte_ms, is_believed);
    h->measured_at_ms = h->answered_at_ms = now_ms;
}

void health_end(struct health *h, bool was_suspected)
{
    if (h->under_way > 0)
        h->under_way--;
    if (was_suspected && h->suspicions > 0)
        h->suspicions--;
}

/* --- results ---------------------------------------------------------------------------------- */

/* Right bytes, or an answer to a probe, do not excuse those that were wrong. */
static bool is_set_aside(const struct health *h, int64_t now_ms)
{
    return h->is_out && h->why == HEALTH_WRONG && now_ms < h->out_until_ms;
}

void health_succeeded(struct health *h, uint64_t bytes, int64_t ms, int64_t now_ms)
{
    bool is_believed = is_measured(h, now_ms);
    if (bytes > 0)
        h->bytes_per_s =
            average(h->bytes_per_s, (int64_t)bytes * 1000 / (ms > 0 ? ms : 1), is_believed);
    h->measured_at_ms = h->answered_at_ms = now_ms;
    if (is_set_aside(h, now_ms))
        return;
    h->failures = 0;
    h->is_out = false;
    h->out_until_ms = 0;
}

static int64_t backoff_ms(const struct health *h)
{
    int64_t most = h->is_origin ? HEALTH_ORIGIN_MAX_MS : HEALTH_BACKOFF_MAX_MS;
    int64_t wait = HEALTH_BACKOFF_MS;
    for (unsigned i = 1; i < h->failures && wait < most; i++)
        wait *= 2;
    return wait < most ? wait : most;
}

void health_failed(struct health *h, enum health_failure why, int64_t now_ms)
{
    bool was_wrong = is_set_aside(h, now_ms);
    /* What fails together, being under way together, counts once. */
    if (!(h->is_out && now_ms < h->out_until_ms) || why == HEALTH_WRONG)
        h->failures++;
    h->is_out = true;
    if (was_wrong && why != HEALTH_WRONG)
        return;
    int64_t wrong_ms = h->is_origin ? HEALTH_BACKOFF_MAX_MS : HEALTH_WRONG_MS;
    int64_t until_ms = now_ms + (why == HEALTH_WRONG ? wrong_ms : backoff_ms(h));
    h->why = why;
    if (until_ms > h->out_until_ms || why == HEALTH_WRONG)
        h->out_until_ms = until_ms;
}

void health_limited(struct health *h, int retry_after_s, int64_t now_ms)
{
    int64_t until_ms =
        now_ms + (retry_after_s > 0 ? (int64_t)retry_after_s * 1000 : HEALTH_LIMITED_MS);
    if (until_ms > h->limited_until_ms)
        h->limited_until_ms = until_ms;
    h->answered_at_ms = now_ms;
}

/* FNV-1a: a collision costs one source not asked, for a minute. */
static uint64_t key_of(const char *repository, const char *digest)
{
    uint64_t key = 0xcbf29ce484222325u;
    for (; *repository; repository++)
        key = (key ^ (unsigned char)*repository) * 0x100000001b3u;
    key = (key ^ '@') * 0x100000001b3u;
    for (; digest && *digest; digest++)
        key = (key ^ (unsigned char)*digest) * 0x100000001b3u;
    return key ? key : 1;
}

static const struct health_miss *find_miss(const struct health *h, uint64_t key)
{
    for (size_t i = 0; i < HEALTH_MISSES_MAX; i++)
        if (h->misses[i].key == key)
            return &h->misses[i];
    return NULL;
}

/* That of the key, else the one that ends first. */
static struct health_miss *place_for(struct health *h, uint64_t key, int64_t now_ms)
{
    struct health_miss *best = &h->misses[0];
    for (size_t i = 0; i < HEALTH_MISSES_MAX; i++) {
        struct health_miss *m = &h->misses[i];
        if (m->key == key) {
            if (m->until_ms <= now_ms)
                m->count = 0;
            return m;
        }
        if (m->until_ms < best->until_ms)
            best = m;
    }
    *best = (struct health_miss){.key = key};
    return best;
}

void health_missed(struct health *h, const char *repository, const char *digest, int64_t now_ms)
{
    if (h->is_origin)
        return;
    if (digest)
        place_for(h, key_of(repository, digest), now_ms)->until_ms = now_ms + HEALTH_MISS_MS;
    struct health_miss *m = place_for(h, key_of(repository, NULL), now_ms);
    m->count = digest ? m->count + 1 : MISSES_IN_A_ROW;
    m->until_ms = now_ms + HEALTH_MISS_MS;
}

void health_had(struct health *h, const char *repository)
{
    const struct health_miss *found = find_miss(h, key_of(repository, NULL));
    if (found)
        h->misses[found - h->misses] = (struct health_miss){0};
}

void health_probe_begin(struct health *h)
{
    h->is_probed = true;
}

void health_probe_end(struct health *h, enum health_failure result, int64_t now_ms)
{
    h->is_probed = false;
    if (result != HEALTH_OK) {
        health_failed(h, result, now_ms);
    } else if (!is_set_aside(h, now_ms)) {
        h->is_out = false;
        h->out_until_ms = 0;
        h->back_at_ms = now_ms;
    }
}

/* --- questions -------------------------------------------------------------------------------- */

bool health_is_suspect(const struct health *h)
{
    return h->suspicions > 0 && h->answered_at_ms < h->suspected_at_ms;
}

static bool is_limited(const struct health *h, int64_t now_ms)
{
    return now_ms < h->limited_until_ms;
}

bool health_is_usable(const struct health *h, int64_t now_ms)
{
    return !h->is_out && !is_limited(h, now_ms) && !health_is_suspect(h);
}

bool health_wants_probe(const struct health *h, int64_t now_ms)
{
    return h->is_out && !h->is_probed && now_ms >= h->out_until_ms && !is_limited(h, now_ms) &&
           !health_is_suspect(h);
}

int64_t health_hedge_ms(const struct health *h, int64_t now_ms)
{
    if (health_is_suspect(h) || h->is_out)
        return HEALTH_HEDGE_MIN_MS;
    if (!is_measured(h, now_ms))
        return HEALTH_HEDGE_MS;
    int64_t wait = h->first_byte_ms * 3;
    return wait < HEALTH_HEDGE_MIN_MS   ? HEALTH_HEDGE_MIN_MS
           : wait > HEALTH_HEDGE_MAX_MS ? HEALTH_HEDGE_MAX_MS
                                        : wait;
}

static bool has_missed(const struct health *h, const char *repository, const char *digest,
                       int64_t now_ms)
{
    const struct health_miss *m = find_miss(h, key_of(repository, NULL));
    if (h->is_origin)
        return false;
    if (m && m->count >= MISSES_IN_A_ROW && now_ms < m->until_ms)
        return true;
    m = digest ? find_miss(h, key_of(repository, digest)) : NULL;
    return m && now_ms < m->until_ms;
}

/* Steps away from the best; what is not known is believed to be good. */
static unsigned worth(const struct health *h, int64_t now_ms)
{
    unsigned steps = 0;
    if (now_ms - h->back_at_ms < HEALTH_TRIAL_MS)
        steps = h->failures < 3 ? h->failures : 3;
    if (is_measured(h, now_ms)) {
        for (int64_t ms = 400; ms < h->first_byte_ms && ms < 6400; ms *= 2)
            steps++;
        for (int64_t rate = 1 << 20; h->bytes_per_s > 0 && rate > h->bytes_per_s && rate > 4096;
             rate /= 4)
            steps++;
    }
    /* A mirror that never answered yet is tried by one request, not by all that come meanwhile. */
    if (!h->is_origin && h->answered_at_ms == 0 && h->under_way > 0)
        steps += 8 + h->under_way;
    return steps;
}

enum rank { USABLE, ORIGIN_AT_LAST, OUT, LIMITED, NEVER };

static enum rank rank_of(const struct health *h, const char *repository, const char *digest,
                         int64_t now_ms)
{
    if (health_is_usable(h, now_ms))
        return has_missed(h, repository, digest, now_ms) ? NEVER : USABLE;
    if (h->is_origin)
        return is_limited(h, now_ms) ? LIMITED : ORIGIN_AT_LAST;
    if (has_missed(h, repository, digest, now_ms) || (h->is_out && h->why == HEALTH_WRONG))
        return NEVER;
    return is_limited(h, now_ms) ? LIMITED : OUT;
}

static bool goes_before(const struct health *a, const struct health *b, enum rank a_rank,
                        enum rank b_rank, int64_t now_ms)
{
    if (a_rank != b_rank)
        return a_rank < b_rank;
    if (a_rank == USABLE)
        return worth(a, now_ms) < worth(b, now_ms);
    if (a_rank == LIMITED)
        return a->limited_until_ms < b->limited_until_ms;
    return a->failures < b->failures;
}

size_t health_order(const struct health *const *all, size_t count, const char *repository,
                    const char *digest, int64_t now_ms, size_t *order)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        enum rank rank = rank_of(all[i], repository, digest, now_ms);
        if (rank == NEVER)
            continue;
        size_t at = used++;
        for (; at > 0; at--) {
            const struct health *other = all[order[at - 1]];
            if (!goes_before(all[i], other, rank, rank_of(other, repository, digest, now_ms),
                             now_ms))
                break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    return used;
}

const char *health_reason(const struct health *h, const char *repository, const char *digest,
                          int64_t now_ms)
{
    if (h->is_out && h->why == HEALTH_WRONG)
        return "sent wrong bytes";
    if (has_missed(h, repository, digest, now_ms))
        return "did not have it lately";
    if (h->is_out)
        return now_ms < h->out_until_ms ? "left out after failing" : "failed, waits for a probe";
    if (is_limited(h, now_ms))
        return "limits us";
    if (health_is_suspect(h))
        return "gives no sign right now";
    if (h->failures > 0)
        return "back after failing, on trial";
    if (!is_measured(h, now_ms))
        return "not measured yet";
    return worth(h, now_ms) > 0 ? "answers, but slowly" : "answers well";
}

const char *health_failure_name(enum health_failure why)
{
    static const char *const names[] = {"none", "slow", "error", "time-out", "wrong bytes"};
    return names[why];
}
