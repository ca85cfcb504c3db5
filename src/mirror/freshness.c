/* SPDX-License-Identifier: Apache-2.0
 * A clock that jumps back makes what was checked "later" count as not checked. */
#include "mirror/freshness.h"

#include <string.h>

static bool is_within(int64_t at_ms, int64_t ttl_ms, int64_t now_ms)
{
    return at_ms > 0 && at_ms <= now_ms && now_ms - at_ms < ttl_ms;
}

enum freshness_verdict freshness_judge(const struct freshness_rules *r, const struct freshness *f,
                                       int64_t now_ms)
{
    bool is_offline = r->mode == MODE_OFFLINE;
    if (f->is_held) {
        if (f->is_immutable && f->checked_at_ms > 0)
            return FRESH_SERVE;
        if (is_within(f->checked_at_ms, r->tag_ttl_ms, now_ms))
            return FRESH_SERVE;
        if (is_offline || is_within(f->failed_at_ms, r->retry_ms, now_ms))
            return FRESH_SERVE_STALE;
        return r->mode == MODE_PREFER_CACHE ? FRESH_SERVE_BEHIND : FRESH_ASK;
    }
    if (is_offline)
        return FRESH_OFFLINE;
    return is_within(f->missing_at_ms, r->negative_ttl_ms, now_ms) ? FRESH_MISSING : FRESH_ASK;
}

int64_t freshness_ms_of(int64_t wall_s)
{
    return wall_s > 0 && wall_s <= INT64_MAX / 1000 ? wall_s * 1000 : 0;
}

bool freshness_is_in_doubt(const struct freshness *f)
{
    return f->failed_at_ms > 0 && f->failed_at_ms >= f->checked_at_ms;
}

bool freshness_mode_parse(const char *word, enum mirror_mode *mode)
{
    static const char *const words[] = {"online", "prefer-cache", "offline"};
    for (unsigned i = 0; i < 3; i++)
        if (strcmp(word, words[i]) == 0) {
            *mode = (enum mirror_mode)i;
            return true;
        }
    return false;
}
