/* SPDX-License-Identifier: Apache-2.0
 * The look-ups, in the order that makes a warm hit cheap: memory, then the index, then the flights,
 * and only then a question. What a name means (a tag's digest, who may have a digest) is put before
 * its content and looked up after it, so whoever sees content sees the right to it as well. */
#include "mirror/mirror.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/str.h"
#include "cache/imported.h"
#include "cache/index.h"
#include "cache/ledger.h"
#include "cache/scrub.h"
#include "cache/store.h"
#include "fetch/survey.h"
#include "mirror/explain.h"
#include "mirror/fill.h"
#include "mirror/flights.h"
#include "mirror/known.h"
#include "mirror/question.h"
#include "mirror/rights.h"
#include "upstream/upstream.h"

enum { KEY_MAX = 1024 };

struct mirror *mirror_new(const struct mirror_options *o, struct store *s, struct ledger *l,
                          struct fetcher *f)
{
    struct mirror *m = alloc_zero(sizeof *m);
    m->options = *o;
    m->store = s;
    m->ledger = l;
    m->fetcher = f;
    m->known = known_new(s, l, o->memory_bytes);
    m->flights = flights_new();
    m->ahead = ahead_new(&o->ahead, m);
    return m;
}

void mirror_free(struct mirror *m)
{
    ahead_free(m->ahead);
    known_free(m->known);
    flights_free(m->flights);
    free(m);
}

void mirror_note_hits(struct mirror *m)
{
    known_note_hits(m->known);
}

void mirror_stop(struct mirror *m)
{
    __atomic_store_n(&m->is_stopping, true, __ATOMIC_RELEASE);
}

int mirror_open_file(struct mirror *m, const struct content *c)
{
    int fd = -1;
    uint64_t size;
    struct error e;
    return store_get(m->store, &c->digest, &fd, &size, &e) == 1 ? fd : -1;
}

/* --- answers that are known at once ----------------------------------------------------------- */

static struct answer *at_once(struct answer *a)
{
    answer_finish(a);
    return a;
}

static struct answer *error_answer(enum error_kind kind, const char *text)
{
    struct answer *a = answer_new();
    a->kind = ANSWER_ERROR;
    a->cache = CACHE_HIT;
    error_set(&a->error, kind, "%s", text);
    return at_once(a);
}

static struct answer *content_answer(struct mirror *m, const struct ask *a, struct content *c,
                                     enum cache_outcome cache, int64_t checked_at_ms)
{
    known_use(m->known, c, a->upstream->registry, a->repository, !a->is_head);
    struct answer *answer = answer_new();
    answer->kind = ANSWER_CONTENT;
    answer->cache = cache;
    answer->content = c;
    answer->digest = c->digest;
    answer->checked_at_ms = checked_at_ms;
    return at_once(answer);
}

static struct answer *flow_answer(struct flow *f, bool joined)
{
    struct answer *a = answer_new();
    a->kind = ANSWER_FLOW;
    a->cache = joined ? CACHE_COLLAPSED : CACHE_STORED;
    a->flow = f;
    a->digest = *flow_digest(f);
    return at_once(a);
}

/* What a HEAD told. */
static struct answer *told_answer(const struct note *n, enum cache_outcome cache)
{
    struct answer *a = answer_new();
    a->kind = ANSWER_HEAD;
    a->cache = cache;
    a->digest = n->digest;
    a->size_bytes = n->size_bytes;
    a->checked_at_ms = n->freshness.checked_at_ms;
    slice_copy(slice_of(n->media_type), a->media_type, sizeof a->media_type);
    return at_once(a);
}

bool mirror_is_offline(const struct mirror *m)
{
    return m->options.rules.mode == MODE_OFFLINE;
}

/* There is nobody to ask. */
static bool is_closed(const struct mirror *m, const struct ask *a)
{
    return mirror_is_offline(m) || upstream_is_only_held(a->upstream);
}

static struct answer *missing(const struct mirror *m, const struct ask *a)
{
    enum error_kind kind = a->kind == ASK_BLOB       ? ERR_BLOB_UNKNOWN
                           : a->kind == ASK_MANIFEST ? ERR_MANIFEST_UNKNOWN
                                                     : ERR_NAME_UNKNOWN;
    const char *why = mirror_is_offline(m)                 ? "this mirror runs in offline mode"
                      : upstream_is_only_held(a->upstream) ? "its registry is not configured"
                                                           : NULL;
    char text[REPOSITORY_MAX + sizeof a->upstream->registry + 64];
    if (why)
        snprintf(text, sizeof text, "%s is not held here, and %s", a->repository, why);
    else
        snprintf(text, sizeof text, "%s: %s does not have it", a->repository,
                 a->upstream->registry);
    return error_answer(kind, text);
}

/* --- by tag ----------------------------------------------------------------------------------- */

static struct answer *ask_tag(struct mirror *m, struct index_reader *r, const struct ask *a,
                              uint64_t ended, bool *joined)
{
    const char *registry = a->upstream->registry;
    auto_unref(note) struct note *n = known_note(m->known, r, registry, a->repository, a->tag);
    auto_unref(content) struct content *c = NULL;
    struct freshness fresh = {0};
    if (n) {
        fresh = n->freshness;
        if (n->digest.algorithm)
            c = known_content(m->known, r, &n->digest, true);
        fresh.is_held = c || (a->is_head && n->size_bytes > 0);
    }
    fresh.is_immutable = upstream_is_immutable_tag(a->upstream, a->tag);
    struct freshness_rules rules = m->options.rules;
    if (a->upstream->tag_ttl_ms >= 0)
        rules.tag_ttl_ms = a->upstream->tag_ttl_ms;
    if (is_closed(m, a))
        rules.mode = MODE_OFFLINE;
    enum freshness_verdict verdict = freshness_judge(&rules, &fresh, clock_wall_s() * 1000);
    char key[KEY_MAX];
    snprintf(key, sizeof key, "tag %s %s %s:%s", a->is_head ? "head" : "get", registry,
             a->repository, a->tag);
    switch (verdict) {
    case FRESH_SERVE_BEHIND: {
        auto_unref(answer) struct answer *behind = question_ask(m, a, key, c, NULL, ended, joined);
        if (!behind)
            return NULL;
        *joined = false;
    }
        /* fallthrough */
    case FRESH_SERVE:
    case FRESH_SERVE_STALE: {
        bool is_stale = verdict == FRESH_SERVE_STALE ||
                        (verdict == FRESH_SERVE_BEHIND && freshness_is_in_doubt(&fresh));
        enum cache_outcome cache = is_stale ? CACHE_STALE : CACHE_HIT;
        if (c)
            return content_answer(m, a, take(c), cache, fresh.checked_at_ms);
        if (n)
            return told_answer(n, cache);
        break;
    }
    case FRESH_MISSING:
    case FRESH_OFFLINE:
        return missing(m, a);
    case FRESH_ASK:
        break;
    }
    return question_ask(m, a, key, c, NULL, ended, joined);
}

/* --- by digest -------------------------------------------------------------------------------- */

static bool was_missing_lately(struct mirror *m, const struct ask *a)
{
    char text[DIGEST_TEXT_MAX];
    auto_unref(note) struct note *n = known_note(m->known, NULL, a->upstream->registry,
                                                 a->repository, digest_print(&a->digest, text));
    return n && freshness_judge(&m->options.rules, &n->freshness, clock_wall_s() * 1000) ==
                    FRESH_MISSING;
}

/* What was found out about a digest that is only named is remembered, so that it is found out once.
 */
static bool may_have(struct mirror *m, struct index_reader *r, const struct ask *a, int64_t *size)
{
    const char *registry = a->upstream->registry;
    bool is_guarded = upstreams_have_credentials(m->options.upstreams);
    if (known_hold(m->known, r, registry, a->repository, &a->digest, is_guarded, size))
        return true;
    if (!is_guarded || rights_want_proof(m->options.upstreams, r, a->upstream, &a->digest) ||
        !known_hold(m->known, r, registry, a->repository, &a->digest, false, size))
        return false;
    known_put_hold(m->known, registry, a->repository, &a->digest, *size, false);
    return true;
}

static struct answer *ask_digest(struct mirror *m, struct index_reader *r, const struct ask *a,
                                 uint64_t ended, bool *joined)
{
    int64_t size = -1;
    char key[KEY_MAX], text[DIGEST_TEXT_MAX];
    bool is_manifest = a->kind == ASK_MANIFEST;
    if (!is_manifest && !a->is_head)
        ahead_asked(m->ahead, &a->digest);
    auto_unref(content) struct content *c = known_content(m->known, r, &a->digest, is_manifest);
    bool holds = may_have(m, r, a, &size);
    if (c && holds)
        return content_answer(m, a, take(c), CACHE_HIT, 0);
    if (is_closed(m, a))
        return missing(m, a);
    if (!is_manifest && !c) {
        bool is_own;
        autofree char *owner = alloc_format("%s/%s", a->upstream->registry, a->repository);
        struct flow *f = flights_find_flow(m->flights, &a->digest, owner, &is_own);
        if (f && (holds || is_own) && flow_state(f) != FLOW_FAILED && !flow_is_past(f)) {
            *joined = true;
            return flow_answer(f, true);
        }
        bool needs_proof = f && !holds && !is_own;
        if (f)
            flow_unref(f);
        if (!c && !needs_proof && !a->is_head && !was_missing_lately(m, a)) {
            f = fill_join(m, a->upstream, a->repository, &a->digest, size, ended, joined);
            return f ? flow_answer(f, *joined) : NULL;
        }
    }
    if (was_missing_lately(m, a))
        return missing(m, a);
    snprintf(key, sizeof key, "%s %s %s/%s@%s", is_manifest ? "manifest" : "blob",
             a->is_head ? "head" : "get", a->upstream->registry, a->repository,
             digest_print(&a->digest, text));
    return question_ask(m, a, key, c, NULL, ended, joined);
}

/* --- listings --------------------------------------------------------------------------------- */

static bool add_tag(const char *tag, void *cls)
{
    struct str *items = cls;
    if (items->length > 0)
        str_add_char(items, ',');
    str_json(items, slice_of(tag));
    return true;
}

static bool add_referrer(const struct digest *d, uint64_t size_bytes, const char *media_type,
                         const char *artifact_type, const char *annotations, void *cls)
{
    struct str *items = cls;
    char text[DIGEST_TEXT_MAX];
    str_format(items, "%s{\"mediaType\":", items->length > 0 ? "," : "");
    str_json(items, slice_of(media_type));
    str_format(items, ",\"digest\":\"%s\",\"size\":%llu", digest_print(d, text),
               (unsigned long long)size_bytes);
    if (artifact_type[0]) {
        str_add(items, ",\"artifactType\":");
        str_json(items, slice_of(artifact_type));
    }
    if (annotations[0])
        str_format(items, ",\"annotations\":%s", annotations);
    str_add_char(items, '}');
    return true;
}

/* Offline: what is here, and no word about what there may be elsewhere. */
static struct answer *held_listing(const struct mirror *m, struct index_reader *r,
                                   const struct ask *a)
{
    autostr struct str items = {0};
    struct error e;
    int n = a->kind == ASK_TAGS ? index_each_tag(r, a->upstream->registry, a->repository, "",
                                                 1000000, add_tag, &items, &e)
                                : index_each_referrer(r, a->upstream->registry, a->repository,
                                                      &a->digest, add_referrer, &items, &e);
    if (n < 0)
        return error_answer(e.kind, e.text);
    if (a->kind == ASK_TAGS && items.length == 0)
        return missing(m, a);
    struct answer *found = answer_new();
    found->kind = ANSWER_LISTING;
    found->items = str_take(&items);
    return at_once(found);
}

static struct answer *ask_listing(struct mirror *m, struct index_reader *r, const struct ask *a,
                                  uint64_t ended, bool *joined)
{
    char key[KEY_MAX], text[DIGEST_TEXT_MAX] = "";
    bool is_tags = a->kind == ASK_TAGS;
    if (is_closed(m, a))
        return held_listing(m, r, a);
    if (!is_tags)
        digest_print(&a->digest, text);
    snprintf(key, sizeof key, "%s %s/%s %s", is_tags ? "tags" : "referrers", a->upstream->registry,
             a->repository, text);
    auto_unref(answer) struct answer *last = known_listing(m->known, key);
    if (!last) {
        size_t length;
        int64_t fetched_at;
        char *body;
        if (index_find_listing(r, a->upstream->registry, a->repository,
                               is_tags ? "tags" : "referrers", text, &body, &length, &fetched_at,
                               NULL) == 1) {
            last = answer_new();
            last->kind = ANSWER_LISTING;
            last->items = body;
            last->checked_at_ms = freshness_ms_of(fetched_at);
            struct answer *row = at_once(last);
            last = known_add_listing(m->known, key, row);
            answer_unref(row);
        }
    }
    struct freshness fresh = {.is_held = last != NULL,
                              .checked_at_ms = last ? last->checked_at_ms : 0};
    enum freshness_verdict verdict =
        last ? freshness_judge(&m->options.rules, &fresh, clock_wall_s() * 1000) : FRESH_ASK;
    if (verdict == FRESH_SERVE_BEHIND) {
        auto_unref(answer) struct answer *behind =
            question_ask(m, a, key, NULL, last, ended, joined);
        if (!behind)
            return NULL;
        *joined = false;
    } else if (verdict != FRESH_SERVE) {
        return question_ask(m, a, key, NULL, last, ended, joined);
    }
    struct answer *copy = answer_new();
    copy->kind = ANSWER_LISTING;
    copy->items = alloc_string(last->items);
    copy->checked_at_ms = last->checked_at_ms;
    return at_once(copy);
}

/* --- about itself ------------------------------------------------------------------------------
 */

static void survey_came(void *cls, struct survey *s)
{
    struct answer *a = cls;
    a->kind = ANSWER_SURVEY;
    a->survey = s;
    answer_finish(a);
    answer_unref(a);
}

struct answer *mirror_survey(struct mirror *m, const struct survey_request *r)
{
    struct answer *a = answer_new();
    if (survey_take(m->fetcher, r, survey_came, answer_ref(a)))
        return a;
    answer_unref(a);
    answer_unref(a);
    return error_answer(ERR_BUSY, "too much is waiting to be asked upstream");
}

int mirror_explain(struct mirror *m, struct explain_request *r, struct str *out, struct error *e)
{
    r->rules = &m->options.rules;
    r->store = m->store;
    return explain_write(r, out, e);
}

void mirror_each_flow(struct mirror *m, size_t max,
                      void (*visit)(struct flow *f, const char *owner, void *cls), void *cls)
{
    autofree struct flight_view *all = alloc_array(max, sizeof *all);
    size_t count = flights_list(m->flights, all, max);
    for (size_t i = 0; i < count; i++) {
        visit(all[i].flow, all[i].owner, cls);
        flow_unref(all[i].flow);
        free(all[i].owner);
    }
}

/* NULL: a flight ended meanwhile, look again. */
static struct answer *ask_once(struct mirror *m, struct index_reader *r, const struct ask *a,
                               bool *joined)
{
    uint64_t ended = flights_ended(m->flights);
    *joined = false;
    if (__atomic_load_n(&m->is_stopping, __ATOMIC_ACQUIRE))
        return error_answer(ERR_STOPPING, "the mirror is stopping");
    if (a->kind == ASK_TAGS || a->kind == ASK_REFERRERS)
        return ask_listing(m, r, a, ended, joined);
    return a->tag[0] ? ask_tag(m, r, a, ended, joined) : ask_digest(m, r, a, ended, joined);
}

struct answer *mirror_ask(struct mirror *m, struct index_reader *r, const struct ask *a,
                          bool *joined)
{
    struct answer *found;
    do
        found = ask_once(m, r, a, joined);
    while (!found);
    return found;
}

/* --- admitting -------------------------------------------------------------------------------- */

struct admission {
    struct mirror *mirror;
    struct answer *answer;
    struct admittance what;
};

static bool hold(const char *registry, void *cls)
{
    if (!upstreams_hold(cls, registry))
        log_event(LOG_LEVEL_WARNING, "a registry of which something was imported is not served",
                  LOG_S("registry", registry), LOG_END);
    return true;
}

int mirror_learn_imported(struct mirror *m, struct index *x, struct error *e)
{
    struct index_reader *r = index_reader_open(x, e);
    int got = r ? imported_each_registry(r, hold, m->options.upstreams, e) : -1;
    index_reader_close(r);
    return got < 0 ? -1 : 0;
}

static int admit(struct store *s, struct index *x, void *cls, struct error *e)
{
    struct admission *a = cls;
    struct error why = {0};
    a->what.has_changed = false;
    int got = a->mirror->options.admit(&a->what, s, x, e);
    if (a->what.has_changed)
        known_forget_names(a->mirror->known);
    if (got == 0 && mirror_learn_imported(a->mirror, x, &why) < 0)
        log_event(LOG_LEVEL_WARNING,
                  "what registries were imported will be known at the next start",
                  LOG_S("reason", why.text), LOG_END);
    return got;
}

static void forget_blob(void *cls, const struct digest *d)
{
    struct mirror *m = cls;
    known_forget_content(m->known, d);
}

static void admitted(void *cls, const struct error *e)
{
    struct admission *a = cls;
    struct mirror *m = a->mirror;
    a->answer->kind = e ? ANSWER_ERROR : ANSWER_DONE;
    a->answer->pruned = a->what.pruned;
    if (e)
        a->answer->error = *e;
    else
        log_event(LOG_LEVEL_INFO, "an import was admitted", LOG_S("id", a->what.id),
                  LOG_I("pruned", a->what.pruned.blobs), LOG_END);
    answer_finish(a->answer);
    answer_unref(a->answer);
    free((char *)a->what.id);
    free(a);
    __atomic_sub_fetch(&m->working, 1, __ATOMIC_ACQ_REL);
}

/* Counted before it is looked whether the mirror is stopping: who stops looks the other way round.
 */
struct answer *mirror_admit(struct mirror *m, struct slice id, bool is_pruning)
{
    __atomic_add_fetch(&m->working, 1, __ATOMIC_ACQ_REL);
    struct answer *result = answer_new();
    struct admission *a = alloc_zero(sizeof *a);
    *a = (struct admission){
        .mirror = m,
        .answer = answer_ref(result),
        .what = {.id = slice_dup(id), .is_pruning = is_pruning, .gone = forget_blob, .cls = m}};
    struct error e = {0};
    if (__atomic_load_n(&m->is_stopping, __ATOMIC_ACQUIRE) ||
        !ledger_run(m->ledger, admit, admitted, a)) {
        error_set(&e, ERR_STOPPING, "the mirror is stopping");
        admitted(a, &e);
    }
    return result;
}

bool mirror_is_working(struct mirror *m)
{
    return __atomic_load_n(&m->working, __ATOMIC_ACQUIRE) > 0;
}

/* --- looking again ---------------------------------------------------------------------------- */

static void rechecked(void *cls, enum scrub_verdict verdict, const struct error *failed)
{
    static const char *const words[] = {
        [SCRUB_RIGHT] = "\"right\"", [SCRUB_ABSENT] = "\"absent\"", [SCRUB_WRONG] = "\"wrong\""};
    struct answer *a = cls;
    a->kind = failed ? ANSWER_ERROR : ANSWER_DONE;
    if (failed)
        a->error = *failed;
    else
        a->items = alloc_string(words[verdict]);
    answer_finish(a);
    answer_unref(a);
}

struct answer *mirror_recheck(struct mirror *m, const struct digest *d)
{
    struct answer *a = answer_new();
    struct error e;
    if (scrub_suspect(m->options.scrub, d, rechecked, answer_ref(a)))
        return a;
    error_set(&e, ERR_BUSY, "too much is waiting to be looked at, or the mirror is stopping");
    rechecked(a, SCRUB_STOPPED, &e);
    return a;
}
