/* SPDX-License-Identifier: Apache-2.0
 * Looks where mirror_ask would look, in the same order, and tells instead of asking. */
#include "mirror/explain.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json_write.h"
#include "base/str.h"
#include "cache/index.h"
#include "cache/segments.h"
#include "cache/store.h"
#include "fetch/survey.h"
#include "mirror/content.h"
#include "mirror/freshness.h"
#include "mirror/rights.h"
#include "oci/digests.h"
#include "oci/manifest.h"
#include "oci/reference.h"
#include "upstream/upstream.h"

enum {
    DEPTH_MAX = 4,      /* of indexes within indexes that are looked into */
    ENTRIES_MAX = 10000 /* descriptors that are told of */
};

/* What of an image is here. */
struct sums {
    int64_t held_bytes, missing_bytes; /* of blobs; what is partly here counts in both */
    int64_t held, missing;             /* manifests and blobs */
};

/* Through an image. A digest that it names more than once counts once, and is looked into once. */
struct walk {
    const struct explain_request *request;
    const struct upstream *upstream;
    struct digests seen;
    size_t entries;
    struct sums total;
};

/* --- who -------------------------------------------------------------------------------------- */

static void add_ways(const struct upstream *u, const struct upstreams *all, const char *repository,
                     struct str *out)
{
    autostr struct str way = {0};
    bool is_default = upstreams_default(all) == u;
    json_write_text(out, "rule",
                    upstream_is_only_held(u)
                        ? "it was imported and is not configured: only what is held is served"
                    : is_default ? "the default registry: its names need nothing in front"
                                 : "named in front, by ?ns= or by a virtual host");
    json_write_open(out, "ways", '[');
    if (is_default) {
        str_format(&way, "/v2/%s/", repository);
        json_write_text(out, NULL, str_text(&way));
    }
    str_clear(&way);
    str_format(&way, "/v2/%s/%s/", u->registry, repository);
    json_write_text(out, NULL, str_text(&way));
    str_clear(&way);
    str_format(&way, "/v2/%s/…?ns=%s", repository, u->registry);
    json_write_text(out, NULL, str_text(&way));
    for (char *const *host = u->hosts; host && *host; host++) {
        str_clear(&way);
        str_format(&way, "http://%s/v2/%s/", *host, repository);
        json_write_text(out, NULL, str_text(&way));
    }
    json_write_close(out, ']');
}

static bool add_verdict(const struct upstream *u, const char *repository, struct str *out)
{
    const char *rule = "";
    bool is_allowed = upstream_allows(u, repository, &rule);
    json_write_bool(out, "is_allowed", is_allowed);
    json_write_text(out, "allowed_by", rule[0] ? rule : NULL);
    return is_allowed;
}

static void add_source(const struct survey_source *s, struct str *out)
{
    json_write_open(out, NULL, '{');
    json_write_text(out, "url", s->url);
    json_write_text(out, "role", s->is_origin ? "origin" : "mirror");
    json_write_known(out, "turn", s->turn, s->turn > 0);
    json_write_text(out, "reason", s->reason);
    json_write_text(out, "state", survey_state_name(s->state));
    json_write_text(out, "login", survey_login_name(s->login));
    json_write_known(out, "token_ms", s->token_ms, s->token_ms > 0);
    json_write_known(out, "first_byte_ms", s->first_byte_ms, s->first_byte_ms > 0);
    json_write_known(out, "bytes_per_s", s->bytes_per_s, s->bytes_per_s > 0);
    json_write_known(out, "rate_remaining", s->rate_remaining, s->rate_remaining >= 0);
    json_write_close(out, '}');
}

static void add_sources(const struct upstream *u, const struct survey *s, struct str *out)
{
    json_write_text(out, "tags_told_by",
                    upstream_is_only_held(u) ? "nobody"
                    : u->resolves_anywhere   ? "any source"
                                             : "the origin");
    json_write_bool(out, "is_running", s != NULL);
    json_write_open(out, "sources", '[');
    for (size_t i = 0; s && s->count > 0 && i < s->registries[0].source_count; i++)
        add_source(&s->registries[0].sources[i], out);
    for (size_t i = 0; !s && i < u->source_count; i++) {
        json_write_open(out, NULL, '{');
        json_write_text(out, "url", u->sources[i].url);
        json_write_text(out, "role", i + 1 == u->source_count ? "origin" : "mirror");
        json_write_text(out, "login", survey_login_name(survey_login_of(&u->sources[i])));
        json_write_close(out, '}');
    }
    json_write_close(out, ']');
}

/* --- the tag ---------------------------------------------------------------------------------- */

static const char *verdict_name(enum freshness_verdict v)
{
    static const char *const names[] = {"served as it is, nobody is asked",
                                        "served as stale, nobody is asked",
                                        "served, and confirmed behind that",
                                        "the upstream is asked first",
                                        "404 without asking",
                                        "404: not held, and offline"};
    return names[v];
}

/* 1: the digest that a pull begins with is known. */
static int add_tag(const struct explain_request *r, const struct upstream *u, struct digest *d,
                   struct str *out, struct error *e)
{
    struct index_tag tag = {0};
    char text[DIGEST_TEXT_MAX];
    const struct reference *i = r->image;
    struct freshness_rules rules = *r->rules;
    int64_t now_s = clock_wall_s();
    int found =
        r->reader ? index_find_tag(r->reader, u->registry, i->repository, i->tag, &tag, e) : 0;
    if (found < 0)
        return -1;
    if (u->tag_ttl_ms >= 0)
        rules.tag_ttl_ms = u->tag_ttl_ms;
    if (upstream_is_only_held(u))
        rules.mode = MODE_OFFLINE;
    const struct freshness fresh = {.is_held = found == 1,
                                    .is_immutable = upstream_is_immutable_tag(u, i->tag),
                                    .checked_at_ms = freshness_ms_of(tag.checked_at)};
    json_write_open(out, "tag", '{');
    json_write_text(out, "name", i->tag);
    json_write_text(out, "digest", found ? digest_print(&tag.digest, text) : NULL);
    json_write_known(out, "confirmed_ago_s", now_s - fresh.checked_at_ms / 1000, found);
    json_write_number(out, "ttl_ms", rules.tag_ttl_ms);
    json_write_bool(out, "is_immutable", fresh.is_immutable);
    json_write_text(out, "next", verdict_name(freshness_judge(&rules, &fresh, now_s * 1000)));
    json_write_close(out, '}');
    if (found)
        *d = tag.digest;
    return found;
}

/* --- what is held ----------------------------------------------------------------------------- */

static int64_t partial_bytes(struct store *s, const struct digest *d)
{
    autofree char *map = NULL;
    size_t length;
    int64_t size;
    struct segments parts = {0};
    if (store_partial_read_map(s, d, &map, &length, NULL) == 1)
        segments_read(&parts, map, &size);
    int64_t sum = (int64_t)segments_sum(&parts);
    segments_fini(&parts);
    return sum;
}

static const char *kind_name(enum child_kind kind)
{
    static const char *const names[] = {"manifest", "config", "layer", "subject"};
    return names[kind];
}

static void sums_add(struct sums *s, const struct sums *more)
{
    s->held += more->held;
    s->missing += more->missing;
    s->held_bytes += more->held_bytes;
    s->missing_bytes += more->missing_bytes;
}

/* Would it be served under this name without asking? What it names is told to nobody else. */
static int is_own(const struct walk *w, const struct digest *d, struct error *e)
{
    const struct reference *i = w->request->image;
    int64_t size;
    bool is_proven = false;
    int found = w->request->reader ? index_find_hold(w->request->reader, i->registry, i->repository,
                                                     d, &size, &is_proven, e)
                                   : 0;
    return found == 1 ? is_proven || !rights_want_proof(w->request->upstreams, w->request->reader,
                                                        w->upstream, d)
                      : found;
}

/* One descriptor: 1 held, 0, -1. */
static int add_state(struct walk *w, const struct digest *d, int64_t size_bytes, struct sums *own,
                     struct str *out, struct error *e)
{
    char text[DIGEST_TEXT_MAX];
    uint64_t size = 0;
    const struct explain_request *r = w->request;
    int found = r->reader ? index_find_blob(r->reader, d, &size, e) : 0;
    if (found < 0)
        return -1;
    int64_t present = found ? (int64_t)size : r->store ? partial_bytes(r->store, d) : 0;
    json_write_text(out, "digest", digest_print(d, text));
    json_write_known(out, "size", found ? (int64_t)size : size_bytes, found || size_bytes >= 0);
    json_write_text(out, "state", found ? "held" : present > 0 ? "partial" : "missing");
    json_write_number(out, "present", present);
    *own =
        (struct sums){.held = found,
                      .missing = !found,
                      .held_bytes = present,
                      .missing_bytes = !found && size_bytes > present ? size_bytes - present : 0};
    return found;
}

static int add_manifest(struct walk *w, const struct digest *d, unsigned depth, struct sums *own,
                        struct str *out, struct error *e);

/* A child, and what it names. own: all of that, whoever else names it too. */
static int add_child(struct walk *w, const struct child *c, unsigned depth, struct sums *own,
                     struct str *out, struct error *e)
{
    bool is_first = digests_add(&w->seen, &c->digest, NULL);
    json_write_open(out, NULL, '{');
    json_write_text(out, "kind", kind_name(c->kind));
    json_write_text(out, "platform", c->platform[0] ? c->platform : NULL);
    int found = add_state(w, &c->digest, c->size_bytes, own, out, e);
    if (is_first)
        sums_add(&w->total, own);
    if (found == 1 && is_first && c->kind == CHILD_MANIFEST && depth < DEPTH_MAX) {
        found = is_own(w, &c->digest, e);
        if (found == 1)
            found = add_manifest(w, &c->digest, depth + 1, own, out, e);
    }
    if (c->kind == CHILD_MANIFEST) {
        json_write_number(out, "held_bytes", own->held_bytes);
        json_write_number(out, "missing_bytes", own->missing_bytes);
    }
    json_write_close(out, '}');
    return found < 0 ? -1 : 0;
}

/* The type and the children of a manifest that is held; own grows by them. */
static int add_manifest(struct walk *w, const struct digest *d, unsigned depth, struct sums *own,
                        struct str *out, struct error *e)
{
    auto_unref(content) struct content *c = NULL;
    struct manifest m;
    struct error ignored;
    struct index_manifest row = {0};
    int result = 0;
    if (index_find_manifest(w->request->reader, d, &row, e) < 0)
        return -1;
    if (!row.media_type[0] ||
        content_open(w->request->store, d, row.media_type, &c, &ignored) != 1 ||
        manifest_parse(row.media_type, c->bytes, (size_t)c->size_bytes, &m, &ignored) < 0)
        return 0; /* no manifest after all: its state says what there is to say */
    json_write_text(out, "media_type", m.media_type);
    json_write_open(out, "children", '[');
    for (size_t i = 0; i < m.child_count && result == 0 && w->entries < ENTRIES_MAX; i++) {
        struct sums of_child;
        if (m.children[i].kind == CHILD_SUBJECT)
            continue;
        w->entries++;
        result = add_child(w, &m.children[i], depth, &of_child, out, e);
        if (result == 0)
            sums_add(own, &of_child);
    }
    json_write_close(out, ']');
    manifest_fini(&m);
    return result;
}

/* d: NULL if it is not known which manifest the image is. */
static int add_image(struct walk *w, const struct digest *d, struct str *out, struct error *e)
{
    struct sums own = {0};
    int is_here = 0, found = d ? is_own(w, d, e) : 0;
    if (found < 0)
        return -1;
    json_write_open(out, "image_held", '{');
    json_write_bool(out, "is_of_repository", found == 1);
    if (!d) {
        json_write_text(out, "state", "missing");
    } else {
        is_here = add_state(w, d, -1, &own, out, e);
        if (digests_add(&w->seen, d, NULL))
            sums_add(&w->total, &own);
    }
    if (is_here == 1 && found == 1)
        is_here = add_manifest(w, d, 0, &own, out, e);
    json_write_close(out, '}');
    return is_here < 0 ? -1 : 0;
}

static int add_held(const struct explain_request *r, const struct upstream *u,
                    const struct digest *d, struct str *out, struct error *e)
{
    struct walk w = {.request = r, .upstream = u};
    int result = add_image(&w, d, out, e);
    json_write_bool(out, "is_cut", w.entries == ENTRIES_MAX);
    json_write_open(out, "sums", '{');
    json_write_number(out, "held", w.total.held);
    json_write_number(out, "held_bytes", w.total.held_bytes);
    json_write_number(out, "missing", w.total.missing);
    json_write_number(out, "missing_bytes", w.total.missing_bytes);
    json_write_close(out, '}');
    digests_fini(&w.seen);
    return result;
}

/* --- all of it -------------------------------------------------------------------------------- */

static const char *mode_name(enum mirror_mode mode)
{
    static const char *const names[] = {"online", "prefer-cache", "offline"};
    return names[mode];
}

static int add_known(const struct explain_request *r, const struct upstream *u, struct str *out,
                     struct error *e)
{
    const struct reference *i = r->image;
    struct digest d = i->digest;
    int is_known = d.algorithm != 0;
    add_ways(u, r->upstreams, i->repository, out);
    if (!add_verdict(u, i->repository, out))
        return 0; /* nobody is asked, nothing is served */
    add_sources(u, r->survey, out);
    if (!is_known)
        is_known = add_tag(r, u, &d, out, e);
    return is_known < 0 ? -1 : add_held(r, u, is_known == 1 ? &d : NULL, out, e);
}

int explain_write(const struct explain_request *r, struct str *out, struct error *e)
{
    const struct reference *i = r->image;
    const struct upstream *u = upstreams_find(r->upstreams, slice_of(i->registry));
    int result = 0;
    json_write_open(out, NULL, '{');
    json_write_text(out, "registry", i->registry);
    json_write_text(out, "repository", i->repository);
    json_write_text(out, "mode", mode_name(r->rules->mode));
    json_write_bool(out, "is_known", u != NULL);
    if (u)
        result = add_known(r, u, out, e);
    json_write_close(out, '}');
    return result;
}
