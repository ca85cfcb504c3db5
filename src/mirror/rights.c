/* SPDX-License-Identifier: Apache-2.0
 * What one open registry gave us is nobody's secret, whoever else has it too. */
#include "mirror/rights.h"

#include "base/error.h"
#include "base/str.h"
#include "cache/index.h"
#include "upstream/upstream.h"

struct search {
    const struct upstreams *all;
    bool is_open;
};

/* A registry that is no longer configured may have been one with a credential. */
static bool look(const char *registry, void *cls)
{
    struct search *s = cls;
    const struct upstream *u = upstreams_find(s->all, slice_of(registry));
    s->is_open = u && !upstream_is_only_held(u) && !upstream_has_credentials(u);
    return !s->is_open;
}

bool rights_want_proof(const struct upstreams *all, struct index_reader *r,
                       const struct upstream *u, const struct digest *d)
{
    struct search s = {.all = all};
    struct error ignored;
    if (upstream_has_credentials(u))
        return true;
    if (!upstreams_have_credentials(all))
        return false;
    return !r || index_each_holder(r, d, look, &s, &ignored) < 0 || !s.is_open;
}
