/* SPDX-License-Identifier: Apache-2.0
 * Four bounded memories. Their sizes are shares of one budget: content takes most, for it saves the
 * most. */
#include "mirror/known.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/recall.h"
#include "cache/agree.h"
#include "cache/evict.h"
#include "cache/index.h"
#include "cache/ledger.h"
#include "cache/store.h"
#include "fetch/pull.h"
#include "oci/manifest.h"
#include "oci/reference.h"

struct hold {
    unsigned references;
    int64_t size_bytes;
    bool is_proven; /* not only named */
};

struct known {
    struct store *store;
    struct ledger *ledger;
    struct recall *contents, *holds, *notes, *listings;
    uint64_t forgotten; /* atomic: how often something was, because it went from disk or index */
};

enum { KEY_MAX = 256 + REPOSITORY_MAX + DIGEST_TEXT_MAX + 8 };

/* --- counted little things -------------------------------------------------------------------- */

static void content_up(void *c)
{
    content_ref(c);
}

static void content_down(void *c)
{
    content_unref(c);
}

static void hold_up(void *h)
{
    __atomic_add_fetch(&((struct hold *)h)->references, 1, __ATOMIC_RELAXED);
}

static void hold_down(void *h)
{
    if (__atomic_sub_fetch(&((struct hold *)h)->references, 1, __ATOMIC_ACQ_REL) == 0)
        free(h);
}

static void note_up(void *n)
{
    __atomic_add_fetch(&((struct note *)n)->references, 1, __ATOMIC_RELAXED);
}

static void note_down(void *n)
{
    note_unref(n);
}

static void answer_up(void *a)
{
    answer_ref(a);
}

static void answer_down(void *a)
{
    answer_unref(a);
}

struct note *note_new(void)
{
    struct note *n = alloc_zero(sizeof *n);
    n->references = 1;
    return n;
}

void note_unref(struct note *n)
{
    if (__atomic_sub_fetch(&n->references, 1, __ATOMIC_ACQ_REL) == 0)
        free(n);
}

/* --- what is evicted: the ledger's thread ----------------------------------------------------- */

static bool is_read(void *cls, const struct digest *d)
{
    struct known *k = cls;
    auto_unref(content) struct content *c = recall_get(k->contents, d, sizeof *d);
    return c && content_is_read(c);
}

static bool take_use(void *cls, const struct digest *d)
{
    struct known *k = cls;
    auto_unref(content) struct content *c = recall_get(k->contents, d, sizeof *d);
    return c && __atomic_exchange_n(&c->used_min, 0, __ATOMIC_RELAXED) != 0;
}

void known_forget_content(struct known *k, const struct digest *d)
{
    __atomic_add_fetch(&k->forgotten, 1, __ATOMIC_ACQ_REL); /* first: see known_content */
    recall_forget(k->contents, d, sizeof *d);
}

static void gone(void *cls, const struct digest *d)
{
    known_forget_content(cls, d);
}

struct known *known_new(struct store *s, struct ledger *l, size_t memory_bytes)
{
    struct known *k = alloc_zero(sizeof *k);
    k->store = s;
    k->ledger = l;
    k->contents = recall_new(memory_bytes / 2, content_up, content_down);
    k->holds = recall_new(memory_bytes / 8, hold_up, hold_down);
    k->notes = recall_new(memory_bytes / 8, note_up, note_down);
    k->listings = recall_new(memory_bytes / 4, answer_up, answer_down);
    const struct evict_listener listener = {is_read, take_use, gone, k};
    ledger_listen(l, &listener);
    return k;
}

void known_free(struct known *k)
{
    recall_free(k->contents);
    recall_free(k->holds);
    recall_free(k->notes);
    recall_free(k->listings);
    free(k);
}

void known_forget_names(struct known *k)
{
    __atomic_add_fetch(&k->forgotten, 1, __ATOMIC_ACQ_REL);
    recall_clear(k->holds);
    recall_clear(k->notes);
    recall_clear(k->listings);
}

/* --- content ---------------------------------------------------------------------------------- */

void known_put_content(struct known *k, struct content *c)
{
    recall_put(k->contents, &c->digest, sizeof c->digest, c, content_cost(c));
}

void known_note_unstored(struct content *c)
{
    __atomic_store_n(&c->is_unstored, true, __ATOMIC_RELAXED);
}

/* The ledger's answer, which has told why not. */
static void stored(void *cls, const struct error *e)
{
    struct content *c = cls;
    __atomic_store_n(&c->is_unstored, e != NULL, __ATOMIC_RELAXED);
    content_unref(c);
}

static void store_manifest(struct known *k, struct content *c, const struct manifest *m,
                           const char *registry, const char *repository, const char *tag)
{
    if (!ledger_publish_manifest(k->ledger, &c->digest, c->bytes, (size_t)c->size_bytes, m,
                                 registry, repository, tag, stored, content_ref(c)))
        content_unref(c);
}

/* A manifest is stored from memory, for upstreams count how often one is fetched; a blob is
 * forgotten, so that it comes again, and into a file. */
static void store_again(struct known *k, struct content *c, const char *registry,
                        const char *repository)
{
    struct manifest m;
    if (c->media_type[0] &&
        manifest_parse(c->media_type, c->bytes, (size_t)c->size_bytes, &m, NULL) == 0) {
        store_manifest(k, c, &m, registry, repository, NULL);
        manifest_fini(&m);
    } else {
        recall_forget(k->contents, &c->digest, sizeof c->digest);
    }
}

void known_use(struct known *k, struct content *c, const char *registry, const char *repository,
               bool is_hit)
{
    if (is_hit && c->media_type[0])
        __atomic_add_fetch(&c->hits, 1, __ATOMIC_RELAXED);
    int64_t now_min = clock_wall_s() / 60,
            last_min = __atomic_load_n(&c->used_min, __ATOMIC_RELAXED);
    if (last_min == now_min || !__atomic_compare_exchange_n(&c->used_min, &last_min, now_min, false,
                                                            __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    if (__atomic_exchange_n(&c->is_unstored, false, __ATOMIC_RELAXED))
        store_again(k, c, registry, repository);
    else
        ledger_touch(k->ledger, &c->digest);
}

static void note_hits(void *content, void *cls)
{
    struct content *c = content;
    struct known *k = cls;
    int64_t hits = __atomic_exchange_n(&c->hits, 0, __ATOMIC_RELAXED);
    if (hits > 0)
        ledger_add_hits(k->ledger, &c->digest, hits);
}

void known_note_hits(struct known *k)
{
    recall_each(k->contents, note_hits, k);
}

/* It is fetched again in this request, and is not remembered by now. What another has put in its
 * place meanwhile stays. */
static void set_aside(struct known *k, const struct digest *d, const struct error *why)
{
    char text[DIGEST_TEXT_MAX];
    autoclose int fd = -1;
    uint64_t ignored;
    log_event(LOG_LEVEL_ERROR, "a held blob is missing or broken, fetching it again",
              LOG_S("digest", digest_print(d, text)),
              LOG_S("error", why->kind == ERR_NONE ? NULL : why->text), LOG_END);
    if (why->kind != ERR_NONE && why->kind != ERR_CORRUPT)
        return; /* it cannot be read now, which proves nothing */
    store_get(k->store, d, &fd, &ignored, NULL);
    ledger_set_aside(k->ledger, d, fd, false, NULL, NULL);
}

/* Of what is mapped somebody may have cut the file short: nobody could be sent its end. One that is
 * gone is as good as ever. */
static bool is_intact(struct known *k, const struct content *c)
{
    uint64_t size = 0;
    return !content_is_mapped(c) || !store_has(k->store, &c->digest, &size) ||
           size == c->size_bytes;
}

/* size_bytes: as its row says; -1: it has none yet. used_at: what the ledger was told already. */
static struct content *open_held(struct known *k, const struct digest *d, const char *media_type,
                                 int64_t size_bytes, int64_t used_at)
{
    struct content *c = NULL;
    struct error e = {0};
    int found = content_open(k->store, d, media_type, &c, &e);
    if (found == 1 && (size_bytes < 0 || c->size_bytes == (uint64_t)size_bytes)) {
        c->used_min = used_at / 60;
        known_put_content(k, c);
        return c;
    }
    if (found == 1)
        content_unref(c);
    if (found != 0 || size_bytes >= 0)
        set_aside(k, d, &e);
    return NULL;
}

static uint64_t forgotten_so_far(const struct known *k)
{
    return __atomic_load_n(&k->forgotten, __ATOMIC_ACQUIRE);
}

/* The index does not know all files yet, or cannot be read: what is asked for is looked for among
 * them, and a manifest is known by its form. */
static struct content *open_unknown(struct known *k, const struct digest *d, bool as_manifest)
{
    autoclose int fd = -1;
    uint64_t size;
    struct manifest m;
    char media_type[MEDIA_TYPE_MAX + 1] = "";
    if (as_manifest) {
        if (store_get(k->store, d, &fd, &size, NULL) != 1 || !agree_read_manifest(fd, d, size, &m))
            return NULL;
        slice_copy(slice_of(m.media_type), media_type, sizeof media_type);
        manifest_fini(&m);
    }
    return open_held(k, d, media_type, -1, 0);
}

struct content *known_content(struct known *k, struct index_reader *r, const struct digest *d,
                              bool as_manifest)
{
    const struct error none = {0};
    struct content *c = recall_get(k->contents, d, sizeof *d);
    if (c && !is_intact(k, c)) {
        recall_forget(k->contents, d, sizeof *d);
        content_unref(c);
        set_aside(k, d, &none);
        return NULL;
    }
    if (c && (c->media_type[0] || !as_manifest))
        return c;
    if (c)
        content_unref(c);
    struct index_manifest m = {0};
    uint64_t size, forgotten = forgotten_so_far(k);
    int64_t used_at = 0;
    if (!r)
        return NULL;
    bool is_behind = index_is_behind(r);
    int found = index_find_blob_use(r, d, &size, &used_at, NULL);
    if (found == 1 && as_manifest)
        found = index_find_manifest(r, d, &m, NULL);
    c = NULL;
    if (found == 1)
        c = open_held(k, d, m.media_type, (int64_t)size, used_at);
    else if (found < 0 || is_behind)
        c = open_unknown(k, d, as_manifest);
    /* It may have been told gone before it was put, and found before it went. */
    if (c && forgotten_so_far(k) != forgotten)
        recall_forget(k->contents, d, sizeof *d);
    return c;
}

/* --- holds ------------------------------------------------------------------------------------ */

static size_t hold_key(char key[KEY_MAX], const char *registry, const char *repository,
                       const struct digest *d)
{
    int n = snprintf(key, KEY_MAX, "%s/%s@", registry, repository);
    size_t length = n < 0 ? 0 : (size_t)n;
    memcpy(key + length, d, sizeof *d);
    return length + sizeof *d;
}

static void remember_hold(struct known *k, const char *key, size_t key_bytes, int64_t size_bytes,
                          bool is_proven)
{
    struct hold *old = is_proven ? NULL : recall_get(k->holds, key, key_bytes);
    struct hold *h = alloc_zero(sizeof *h);
    h->references = 1;
    h->size_bytes = size_bytes;
    h->is_proven = is_proven || (old && old->is_proven);
    if (old)
        hold_down(old);
    recall_put(k->holds, key, key_bytes, h, sizeof *h);
    hold_down(h);
}

bool known_hold(struct known *k, struct index_reader *r, const char *registry,
                const char *repository, const struct digest *d, bool wants_proof,
                int64_t *size_bytes)
{
    char key[KEY_MAX];
    size_t n = hold_key(key, registry, repository, d);
    struct hold *h = recall_get(k->holds, key, n);
    bool is_named = h != NULL, is_proven = h && h->is_proven;
    *size_bytes = h ? h->size_bytes : -1;
    if (h)
        hold_down(h);
    if (is_proven || (is_named && !wants_proof))
        return true;
    /* Memory forgets; what it says is only named may be proven all the same. */
    if (!r || index_find_hold(r, registry, repository, d, size_bytes, &is_proven, NULL) != 1)
        return false;
    remember_hold(k, key, n, *size_bytes, is_proven);
    return is_proven || !wants_proof;
}

void known_put_hold(struct known *k, const char *registry, const char *repository,
                    const struct digest *d, int64_t size_bytes, bool is_durable)
{
    char key[KEY_MAX];
    remember_hold(k, key, hold_key(key, registry, repository, d), size_bytes, true);
    if (is_durable)
        ledger_put_hold(k->ledger, registry, repository, d, size_bytes);
}

/* --- notes ------------------------------------------------------------------------------------ */

static size_t note_key(char key[KEY_MAX], const char *registry, const char *repository,
                       const char *reference)
{
    int n = snprintf(key, KEY_MAX, "%s/%s:%s", registry, repository, reference);
    return n < 0 ? 0 : (size_t)n < KEY_MAX ? (size_t)n : KEY_MAX - 1;
}

struct note *known_note(struct known *k, struct index_reader *r, const char *registry,
                        const char *repository, const char *reference)
{
    char key[KEY_MAX];
    size_t n = note_key(key, registry, repository, reference);
    struct note *found = recall_get(k->notes, key, n);
    if (found || !r || strchr(reference, ':'))
        return found;
    struct index_tag tag;
    uint64_t forgotten = forgotten_so_far(k);
    if (index_find_tag(r, registry, repository, reference, &tag, NULL) != 1)
        return NULL;
    found = note_new();
    found->digest = tag.digest;
    found->freshness.checked_at_ms = freshness_ms_of(tag.checked_at);
    /* What was learnt meanwhile knows more than the row that came of it. */
    struct note *there = recall_add(k->notes, key, n, found, sizeof *found);
    note_unref(found);
    if (forgotten_so_far(k) != forgotten)
        recall_forget(k->notes, key, n);
    return there;
}

void known_put_note(struct known *k, const char *registry, const char *repository,
                    const char *reference, struct note *n)
{
    char key[KEY_MAX];
    recall_put(k->notes, key, note_key(key, registry, repository, reference), n, sizeof *n);
}

void known_confirm_tag(struct known *k, const char *registry, const char *repository,
                       const char *tag, const struct digest *d, uint64_t size_bytes,
                       const char *media_type)
{
    auto_unref(note) struct note *n = note_new();
    n->digest = *d;
    n->size_bytes = size_bytes;
    slice_copy(slice_of(media_type), n->media_type, sizeof n->media_type);
    n->freshness.checked_at_ms = clock_wall_s() * 1000;
    known_put_note(k, registry, repository, tag, n);
    ledger_put_tag(k->ledger, registry, repository, tag, d);
}

void known_fail_note(struct known *k, const char *registry, const char *repository,
                     const char *reference, bool is_missing)
{
    auto_unref(note) struct note *old = known_note(k, NULL, registry, repository, reference);
    auto_unref(note) struct note *n = note_new();
    int64_t now_ms = clock_wall_s() * 1000;
    if (is_missing) {
        n->freshness.missing_at_ms = now_ms;
        if (!strchr(reference, ':'))
            ledger_remove_tag(k->ledger, registry, repository, reference);
    } else if (old) {
        n->digest = old->digest; /* all but its count, which others change */
        n->size_bytes = old->size_bytes;
        slice_copy(slice_of(old->media_type), n->media_type, sizeof n->media_type);
        n->freshness = old->freshness;
        n->freshness.failed_at_ms = now_ms;
    } else {
        return;
    }
    known_put_note(k, registry, repository, reference, n);
}

static void name_child(struct known *k, const char *registry, const char *repository,
                       const struct child *child)
{
    char key[KEY_MAX];
    remember_hold(k, key, hold_key(key, registry, repository, &child->digest), child->size_bytes,
                  false);
}

struct content *known_put_manifest(struct known *k, const char *registry, const char *repository,
                                   const char *tag, const struct pulled *p)
{
    struct content *c = content_new(&p->digest, p->media_type, p->bytes, (size_t)p->size_bytes);
    known_put_hold(k, registry, repository, &p->digest, (int64_t)p->size_bytes, false);
    for (size_t i = 0; i < p->manifest->child_count; i++) {
        const struct child *child = &p->manifest->children[i];
        if (child->kind != CHILD_SUBJECT)
            name_child(k, registry, repository, child);
    }
    known_put_content(k, c); /* after the holds: see mirror.c */
    store_manifest(k, c, p->manifest, registry, repository, tag);
    if (tag)
        known_confirm_tag(k, registry, repository, tag, &p->digest, p->size_bytes, p->media_type);
    return c;
}

/* --- listings --------------------------------------------------------------------------------- */

struct answer *known_listing(struct known *k, const char *key)
{
    return recall_get(k->listings, key, strlen(key));
}

void known_put_listing(struct known *k, const char *key, struct answer *a)
{
    recall_put(k->listings, key, strlen(key), a, sizeof *a + (a->items ? strlen(a->items) : 0));
}

struct answer *known_add_listing(struct known *k, const char *key, struct answer *a)
{
    return recall_add(k->listings, key, strlen(key), a,
                      sizeof *a + (a->items ? strlen(a->items) : 0));
}
