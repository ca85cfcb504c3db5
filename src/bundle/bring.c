/* SPDX-License-Identifier: Apache-2.0
 * A queue of errands, some of them on their way at once; an answer makes further ones. An image is
 * whole when none of its errands is left, and done when the mirror says that all is durable. */
#include "bundle/bring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "bundle/platform.h"
#include "fetch/local.h"
#include "oci/digests.h"
#include "oci/manifest.h"

enum {
    AT_ONCE = 16,   /* errands on their way */
    DEPTH_MAX = 8,  /* of indexes in indexes, and of referrers of referrers */
    ROUND_MS = 100, /* after which it looks whether it is to stop */
    LOOK_MS = 200,
    LOOK_PATIENCE_MS = 5000,
};

enum errand_kind {
    ERRAND_MANIFEST,  /* by tag, else by digest */
    ERRAND_REFERRERS, /* of a manifest */
    ERRAND_BESIDE,    /* is there such a tag? */
    ERRAND_BLOB,
    ERRAND_SETTLE /* an image's last */
};

struct work {
    struct bring_image *image;
    struct digests seen; /* manifests and blobs of it, each asked for once */
    size_t pending;
    int64_t began_ms; /* 0: not yet */
    bool is_told;     /* how it ended */
};

struct errand {
    STAILQ_ENTRY(errand) later; /* while it waits, */
    TAILQ_ENTRY(errand) next;   /* and on its way */
    struct bring *bring;
    enum errand_kind kind;
    struct work *work;
    struct digest digest;
    char tag[TAG_MAX + 8];
    unsigned depth;
    bool may_lack; /* nothing is amiss if it is not there */
    int64_t size_bytes;
    uint64_t present_bytes, bytes_per_s; /* of a blob on its way, as last seen */
};
STAILQ_HEAD(queue, errand);
TAILQ_HEAD(errands, errand);

struct bring {
    struct bring_options options;
    struct work *works;
    size_t count;
    struct digests came; /* in this and in earlier runs */
    unsigned runs;
    /* of a run */
    struct local_line *line;
    struct queue waiting;
    struct errands running;
    unsigned running_count, blobs_done, blob_count;
    bool is_gone, is_failed, is_looking;
    int64_t looked_ms;
};

/* --- errands ---------------------------------------------------------------------------------- */

static struct errand *send(struct bring *b, struct work *w, enum errand_kind kind,
                           const struct digest *d, unsigned depth)
{
    struct errand *q = alloc_zero(sizeof *q);
    *q = (struct errand){
        .bring = b, .kind = kind, .work = w, .digest = *d, .depth = depth, .size_bytes = -1};
    w->pending++;
    STAILQ_INSERT_TAIL(&b->waiting, q, later);
    return q;
}

static void tell_end(struct bring *b, struct work *w)
{
    w->image->took_ms += clock_mono_ms() - w->began_ms;
    w->is_told = true;
    if (b->options.image_ended)
        b->options.image_ended(w->image, b->options.cls);
}

static void settle_or_end(struct bring *b, struct work *w)
{
    if (w->image->error.kind == ERR_NONE && !w->image->is_done)
        send(b, w, ERRAND_SETTLE, &w->image->digest, 0);
    else
        tell_end(b, w);
}

static void drop(struct errand *q)
{
    q->work->pending--;
    free(q);
}

static void end(struct errand *q)
{
    struct bring *b = q->bring;
    struct work *w = q->work;
    TAILQ_REMOVE(&b->running, q, next);
    b->running_count--;
    drop(q);
    if (w->pending == 0 && !b->is_gone)
        settle_or_end(b, w);
}

static void print_name(const struct errand *q, struct str *out)
{
    const struct reference *n = &q->work->image->name;
    char digest[DIGEST_TEXT_MAX];
    str_format(out, "%s/%s%s%s", n->registry, n->repository, q->tag[0] ? ":" : "@",
               q->tag[0] ? q->tag : digest_print(&q->digest, digest));
}

static void note(const struct errand *q, const char *what)
{
    autostr struct str line = {0};
    print_name(q, &line);
    str_format(&line, ": %s", what);
    if (q->bring->options.note)
        q->bring->options.note(str_text(&line), q->bring->options.cls);
}

static void fail(struct errand *q, const struct error *why)
{
    struct bring_image *i = q->work->image;
    autostr struct str name = {0};
    if (i->error.kind != ERR_NONE)
        return;
    i->error = *why;
    print_name(q, &name);
    error_prefix(&i->error, "%s%s", q->kind == ERRAND_REFERRERS ? "what refers to " : "",
                 str_text(&name));
    q->bring->is_failed = true;
}

static void count(struct errand *q, uint64_t size_bytes, bool has_come)
{
    struct bring *b = q->bring;
    struct bring_image *i = q->work->image;
    bool is_new = has_come && digests_add(&b->came, &q->digest, NULL);
    if (is_new) {
        i->came++;
        i->came_bytes += size_bytes;
    } else if (b->runs == 1 || !digests_has(&b->came, &q->digest)) {
        i->held++;
        i->held_bytes += size_bytes;
    }
}

/* --- what the mirror answers ------------------------------------------------------------------ */

/* true: there is an answer to read. */
static bool has_answer(struct errand *q, int got, const struct local_answer *a,
                       const struct error *why)
{
    struct bring *b = q->bring;
    struct error e = {0};
    if (got == 1 && a->status == 200)
        return true;
    if (got == 0 || (got < 0 && why->kind == ERR_IO)) {
        b->is_gone = true;
        return false;
    }
    if (got < 0)
        e = *why;
    else
        local_problem(a, &e);
    if (got == 1 && a->status == 404 && q->may_lack)
        return false;
    fail(q, &e);
    return false;
}

static void ask_for_blobs(struct errand *q, const struct manifest *m)
{
    struct work *w = q->work;
    for (size_t i = 0; i < m->child_count; i++) {
        const struct child *c = &m->children[i];
        if ((c->kind != CHILD_CONFIG && c->kind != CHILD_LAYER) || manifest_may_lack(c) ||
            !digests_add(&w->seen, &c->digest, NULL))
            continue;
        send(q->bring, w, ERRAND_BLOB, &c->digest, q->depth)->size_bytes = c->size_bytes;
        q->bring->blob_count++;
    }
}

static void ask_for_children(struct errand *q, const struct manifest *m)
{
    const struct bring_options *o = &q->bring->options;
    struct error e = {0};
    if (q->depth == 0 && platform_check(m, o->platforms, &e) < 0) {
        fail(q, &e);
        return;
    }
    for (size_t i = 0; i < m->child_count; i++) {
        const struct child *c = &m->children[i];
        bool is_beside = strcmp(c->platform, NO_PLATFORM) == 0;
        if (c->kind == CHILD_MANIFEST && platform_is_wanted(c->platform, o->platforms) &&
            (o->has_referrers || !is_beside) && digests_add(&q->work->seen, &c->digest, NULL))
            send(q->bring, q->work, ERRAND_MANIFEST, &c->digest, q->depth + 1)->may_lack =
                !o->platforms || is_beside;
    }
}

static void ask_beside(struct errand *q, const struct digest *d, const char *suffix)
{
    char fallback[TAG_MAX + 1];
    struct errand *beside = send(q->bring, q->work, ERRAND_BESIDE, d, q->depth + 1);
    reference_fallback_tag(d, fallback);
    snprintf(beside->tag, sizeof beside->tag, "%s%s", fallback, suffix);
    beside->may_lack = true;
}

static void ask_for_referrers(struct errand *q)
{
    static const char *const suffixes[] = {".sig", ".att", ".sbom"};
    send(q->bring, q->work, ERRAND_REFERRERS, &q->digest, q->depth)->may_lack = true;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        ask_beside(q, &q->digest, suffixes[i]);
}

/* By digest the mirror has verified it; of a tag it says what it means. */
static void read_digest(struct errand *q, const struct local_answer *a)
{
    if (!q->tag[0])
        return;
    if (digest_parse(slice_of(a->digest), &q->digest) != 1)
        digest_of(DIGEST_SHA256, str_text(&a->body), a->body.length, &q->digest);
    digests_add(&q->work->seen, &q->digest, NULL);
}

static void manifest_came(void *cls, int got, const struct local_answer *a, const struct error *why)
{
    struct errand *q = cls;
    struct error e = {0};
    struct manifest m = {0};
    if (!has_answer(q, got, a, why)) {
        if (got == 1 && a->status == 404 && q->may_lack)
            note(q, "is not there, and left out");
        end(q);
        return;
    }
    bool is_held = strstr(a->cache, "; hit") || strstr(a->cache, "fwd=stale");
    read_digest(q, a);
    if (strstr(a->cache, "served-stale"))
        note(q, "the upstream could not be asked: as it was held");
    if (q->depth == 0 && !q->work->image->digest.algorithm)
        q->work->image->digest = q->digest;
    count(q, a->body.length, !is_held);
    if (manifest_parse(a->type[0] ? a->type : NULL, str_text(&a->body), a->body.length, &m, &e) <
        0) {
        fail(q, &e);
    } else {
        if (m.is_index && q->depth < DEPTH_MAX)
            ask_for_children(q, &m);
        else
            ask_for_blobs(q, &m);
        if (q->bring->options.has_referrers && q->depth < DEPTH_MAX)
            ask_for_referrers(q);
        manifest_fini(&m);
    }
    end(q);
}

/* Without the referrers API there may be a tag in its place. */
static void referrers_came(void *cls, int got, const struct local_answer *a,
                           const struct error *why)
{
    struct errand *q = cls;
    struct error e = {0};
    struct manifest m = {0};
    if (!has_answer(q, got, a, why)) {
        if (got == 1 && a->status == 404)
            ask_beside(q, &q->digest, "");
    } else if (manifest_parse(a->type, str_text(&a->body), a->body.length, &m, &e) < 0) {
        fail(q, &e);
    } else {
        for (size_t i = 0; i < m.child_count; i++)
            if (digests_add(&q->work->seen, &m.children[i].digest, NULL))
                send(q->bring, q->work, ERRAND_MANIFEST, &m.children[i].digest, q->depth + 1)
                    ->may_lack = true;
        manifest_fini(&m);
    }
    end(q);
}

/* HEAD came first: most images have none, and a registry that counts pulls counts GETs. */
static void beside_came(void *cls, int got, const struct local_answer *a, const struct error *why)
{
    struct errand *q = cls;
    if (has_answer(q, got, a, why)) {
        struct errand *next = send(q->bring, q->work, ERRAND_MANIFEST, &q->digest, q->depth);
        slice_copy(slice_of(q->tag), next->tag, sizeof next->tag);
        next->may_lack = true;
    }
    end(q);
}

static void blob_came(void *cls, int got, const struct local_answer *a, const struct error *why)
{
    struct errand *q = cls;
    const struct bring_options *o = &q->bring->options;
    struct error e = {0};
    if (!has_answer(q, got, a, why)) {
        end(q);
        return;
    }
    autojson struct json_t *x = json_parse(str_text(&a->body), a->body.length, &e);
    const char *outcome = json_get_string(x, "outcome");
    json_get_integer(x, "size", &q->size_bytes);
    bool has_come = outcome && strcmp(outcome, "came") == 0;
    count(q, (uint64_t)q->size_bytes, has_come);
    q->bring->blobs_done++;
    const struct bring_layer layer = {
        .image = q->work->image, .digest = q->digest, .size_bytes = q->size_bytes};
    if (o->blob_came && has_come)
        o->blob_came(&layer, o->cls);
    end(q);
}

static void settle_came(void *cls, int got, const struct local_answer *a, const struct error *why)
{
    struct errand *q = cls;
    q->work->image->is_done = has_answer(q, got, a, why);
    end(q);
}

/* --- asking ----------------------------------------------------------------------------------- */

static void ask_object(struct errand *q, const char *noun, bool is_head, local_done done)
{
    const struct reference *n = &q->work->image->name;
    char digest[DIGEST_TEXT_MAX];
    autostr struct str path = {0};
    str_format(&path, "/v2/%s/%s/%s?ns=", n->repository, noun,
               q->tag[0] ? q->tag : digest_print(&q->digest, digest));
    str_percent_encode(&path, slice_of(n->registry), "");
    const struct local_request r = {.path = str_text(&path), .is_head = is_head};
    local_line_ask(q->bring->line, &r, done, q);
}

static void ask_command(struct errand *q, const char *path, local_done done)
{
    const struct reference *n = &q->work->image->name;
    bool is_pin = q->kind == ERRAND_SETTLE;
    char digest[DIGEST_TEXT_MAX];
    autostr struct str body = {0};
    if (is_pin && !n->digest.algorithm)
        str_format(&body, "%s/%s:%s", n->registry, n->repository, n->tag);
    else
        str_format(&body, "%s/%s@%s", n->registry, n->repository, digest_print(&q->digest, digest));
    if (is_pin && !q->bring->options.is_pinned)
        str_clear(&body);
    const struct local_request r = {.path = path, .body = str_text(&body)};
    local_line_ask(q->bring->line, &r, done, q);
}

static void go(struct errand *q)
{
    switch (q->kind) {
    case ERRAND_MANIFEST:
        ask_object(q, "manifests", false, manifest_came);
        break;
    case ERRAND_REFERRERS:
        ask_object(q, "referrers", false, referrers_came);
        break;
    case ERRAND_BESIDE:
        ask_object(q, "manifests", true, beside_came);
        break;
    case ERRAND_BLOB:
        ask_command(q, "/control/fetch", blob_came);
        break;
    case ERRAND_SETTLE:
        ask_command(q, "/control/settle", settle_came);
        break;
    }
}

static bool is_over(const struct bring *b)
{
    return b->is_gone || (b->is_failed && !b->options.keeps_going);
}

static void begin_some(struct bring *b)
{
    struct errand *q;
    while (b->running_count < AT_ONCE && !is_over(b) && (q = STAILQ_FIRST(&b->waiting))) {
        struct work *w = q->work;
        STAILQ_REMOVE_HEAD(&b->waiting, later);
        if (w->image->error.kind != ERR_NONE) {
            drop(q);
            if (w->pending == 0)
                settle_or_end(b, w);
            continue;
        }
        if (w->began_ms == 0)
            w->began_ms = clock_mono_ms();
        TAILQ_INSERT_TAIL(&b->running, q, next);
        b->running_count++;
        go(q);
    }
}

/* --- looking ---------------------------------------------------------------------------------- */

static void see_flow(struct bring *b, const struct json_t *flow)
{
    struct errand *q;
    struct digest d;
    int64_t size = -1, present = 0, rate = 0;
    const char *text = json_get_string(flow, "digest");
    if (!text || digest_parse(slice_of(text), &d) != 1)
        return;
    json_get_integer(flow, "size", &size);
    json_get_integer(flow, "present", &present);
    json_get_integer(flow, "bytes_per_s", &rate);
    TAILQ_FOREACH(q, &b->running, next)
    if (q->kind == ERRAND_BLOB && digest_equals(&q->digest, &d)) {
        q->size_bytes = size >= 0 ? size : q->size_bytes;
        q->present_bytes = (uint64_t)present;
        q->bytes_per_s = (uint64_t)rate;
    }
}

static void show(struct bring *b)
{
    const struct errand *q;
    struct bring_layer layers[AT_ONCE];
    struct bring_look l = {.layers = layers,
                           .image_count = b->count,
                           .blobs_done = b->blobs_done,
                           .blob_count = b->blob_count};
    TAILQ_FOREACH(q, &b->running, next)
    if (q->kind == ERRAND_BLOB)
        layers[l.layer_count++] = (struct bring_layer){q->work->image, q->digest, q->size_bytes,
                                                       q->present_bytes, q->bytes_per_s};
    for (size_t i = 0; i < b->count; i++) {
        l.images_done += b->works[i].image->is_done;
        l.came_bytes += b->works[i].image->came_bytes;
        l.held_bytes += b->works[i].image->held_bytes;
    }
    b->options.look(&l, b->options.cls);
}

static void flows_came(void *cls, int got, const struct local_answer *a, const struct error *why)
{
    struct bring *b = cls;
    (void)why;
    b->is_looking = false;
    b->looked_ms = clock_mono_ms();
    autojson struct json_t *x =
        got == 1 && a->status == 200 ? json_parse(str_text(&a->body), a->body.length, NULL) : NULL;
    const struct json_t *flows = x ? json_get_array(x, "flows") : NULL;
    for (size_t i = 0; i < json_count(flows); i++)
        see_flow(b, json_item(flows, i));
    show(b);
}

static void look(struct bring *b)
{
    const struct local_request r = {.path = "/api/status", .timeout_ms = LOOK_PATIENCE_MS};
    if (!b->options.look || b->is_looking || clock_mono_ms() - b->looked_ms < LOOK_MS)
        return;
    b->is_looking = true;
    local_line_ask(b->line, &r, flows_came, b);
}

/* --- a run ------------------------------------------------------------------------------------ */

struct bring *bring_new(const struct bring_options *o, struct bring_image *images, size_t count)
{
    struct bring *b = alloc_zero(sizeof *b);
    b->options = *o;
    b->works = alloc_array(count + 1, sizeof *b->works);
    b->count = count;
    for (size_t i = 0; i < count; i++)
        b->works[i] = (struct work){.image = &images[i]};
    STAILQ_INIT(&b->waiting);
    TAILQ_INIT(&b->running);
    return b;
}

static void forget_errands(struct bring *b)
{
    struct errand *q, *next;
    for (q = TAILQ_FIRST(&b->running); q; q = next) {
        next = TAILQ_NEXT(q, next);
        drop(q);
    }
    TAILQ_INIT(&b->running);
    b->running_count = 0;
    while ((q = STAILQ_FIRST(&b->waiting))) {
        STAILQ_REMOVE_HEAD(&b->waiting, later);
        drop(q);
    }
}

void bring_free(struct bring *b)
{
    for (size_t i = 0; i < b->count; i++)
        digests_fini(&b->works[i].seen);
    digests_fini(&b->came);
    free(b->works);
    free(b);
}

static void prepare(struct bring *b)
{
    b->runs++;
    b->is_gone = b->is_failed = b->is_looking = false;
    b->blobs_done = b->blob_count = 0;
    for (size_t i = 0; i < b->count; i++) {
        struct work *w = &b->works[i];
        struct bring_image *image = w->image;
        digests_fini(&w->seen);
        w->began_ms = 0;
        image->held = 0;
        image->held_bytes = 0;
        if (image->is_done || image->error.kind != ERR_NONE)
            continue;
        struct errand *q = send(b, w, ERRAND_MANIFEST, &image->name.digest, 0);
        if (!image->name.digest.algorithm)
            slice_copy(slice_of(image->name.tag), q->tag, sizeof q->tag);
        else
            digests_add(&w->seen, &q->digest, NULL);
    }
}

/* A mirror that is stopping refuses before it is gone. */
static bool has_ended(struct bring *b)
{
    struct local_answer a = {0};
    struct error ignored;
    const struct local_request r = {
        .data = b->options.data, .path = "/healthz", .timeout_ms = LOOK_PATIENCE_MS};
    bool has_refused = false;
    for (size_t i = 0; i < b->count; i++)
        has_refused |= b->works[i].image->error.kind == ERR_BUSY;
    if (!has_refused || local_ask(&r, &a, &ignored) != 0) {
        str_fini(&a.body);
        return false;
    }
    for (size_t i = 0; i < b->count; i++)
        if (b->works[i].image->error.kind == ERR_BUSY)
            b->works[i].image->error = (struct error){0};
    return true;
}

int bring_run(struct bring *b, struct error *e)
{
    struct error why = {0};
    bool is_stopped = false;
    b->line = local_line_open(b->options.data, &why);
    if (!b->line)
        return 1;
    prepare(b);
    begin_some(b);
    while (b->running_count > 0 && !is_over(b) && !is_stopped) {
        look(b);
        local_line_run(b->line, ROUND_MS);
        begin_some(b);
        is_stopped = b->options.is_stopped && *b->options.is_stopped;
    }
    local_line_close(b->line);
    forget_errands(b);
    if (is_stopped)
        return error_set(e, ERR_STOPPING, "interrupted; what came is kept, and goes on next time");
    if (b->is_gone || has_ended(b))
        return 1;
    for (size_t i = 0; i < b->count; i++)
        if (b->works[i].image->error.kind != ERR_NONE && !b->works[i].is_told)
            tell_end(b, &b->works[i]);
    return 0;
}
