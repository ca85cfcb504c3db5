/* SPDX-License-Identifier: Apache-2.0
 * One manifest, or what is said about it: whose answer is taken, and what its bytes prove. */
#include "fetch/pull.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/str.h"
#include "fetch/fetcher.h"
#include "fetch/race.h"
#include "fetch/transfer.h"
#include "upstream/upstream.h"

struct manifest_pull {
    struct manifest_request request; /* its strings are the pull's own */
    char *repository, *reference;
    struct digest asked; /* algorithm 0: a tag */
    void (*done)(void *cls, const struct pulled *p, const struct error *why);
    void *cls;
    /* of the answer that was taken */
    struct pulled found;
    struct manifest manifest;
    struct error error; /* its bytes are what was asked for, but no manifest */
};

static bool is_head(const struct manifest_pull *p)
{
    return p->request.is_head;
}

/* Which digest the bytes must have: the one asked for, else the one the answer claims, else none.
 */
static int judge(const struct manifest_pull *p, const struct source *s, const struct head *head,
                 const struct str *body, struct pulled *found, struct error *e)
{
    struct digest claimed = {0};
    char text[DIGEST_TEXT_MAX];
    const struct digest *asked = p->asked.algorithm ? &p->asked : NULL;
    bool is_claimed = head->digest[0] && digest_parse(slice_of(head->digest), &claimed) == 1;
    const struct digest *wanted = asked ? asked : is_claimed ? &claimed : NULL;
    if (asked && is_claimed && claimed.algorithm == asked->algorithm &&
        !digest_equals(asked, &claimed))
        return error_set(e, ERR_CORRUPT, "%s answered %s when asked for %s", s->url, head->digest,
                         p->reference);
    if (is_head(p)) {
        if (wanted)
            found->digest = *wanted;
        found->has_size = head->content_length >= 0;
        found->size_bytes = head->content_length > 0 ? (uint64_t)head->content_length : 0;
        manifest_plain_type(slice_of(head->content_type), found->media_type);
        return 0;
    }
    digest_of(wanted ? wanted->algorithm : DIGEST_SHA256, str_text(body), body->length,
              &found->digest);
    if (wanted && !digest_equals(wanted, &found->digest)) {
        metric_add(upstream_corrupt_total, 1);
        return error_set(e, ERR_CORRUPT, "%s sent wrong bytes for %s %s: they are %s", s->url,
                         p->repository, p->reference, digest_print(&found->digest, text));
    }
    found->has_size = true;
    found->size_bytes = body->length;
    return 0;
}

static int manifest_judge(void *cls, const struct source *s, const struct head *head,
                          const struct str *body, struct error *e)
{
    struct manifest_pull *p = cls;
    const struct upstream *u = p->request.upstream;
    bool is_origins = s == upstream_origin(u), by_digest = p->asked.algorithm != 0;
    struct pulled found = {.is_confirmed =
                               is_origins || (by_digest ? !is_head(p) : u->resolves_anywhere)};
    if (judge(p, s, head, body, &found, e) < 0)
        return -1;
    if (!is_head(p) && manifest_parse(head->content_type[0] ? head->content_type : NULL,
                                      str_text(body), body->length, &p->manifest, e) < 0) {
        error_prefix(e, "%s %s from %s", p->repository, p->reference, s->url);
        if (!by_digest && !is_origins)
            return -1; /* another may know better what the tag means */
        p->error = *e;
        return 0;
    }
    if (!is_head(p)) {
        slice_copy(slice_of(p->manifest.media_type), found.media_type, sizeof found.media_type);
        found.manifest = &p->manifest;
    }
    p->found = found;
    return 0;
}

static void manifest_answered(void *cls, struct source *source, const struct head *head,
                              const struct str *body, const struct error *why)
{
    struct manifest_pull *p = cls;
    (void)source;
    (void)head;
    if (!why && p->error.kind != ERR_NONE)
        why = &p->error;
    p->found.bytes = is_head(p) ? NULL : str_text(body);
    p->done(p->cls, why ? NULL : &p->found, why);
    if (p->found.manifest)
        manifest_fini(&p->manifest);
    free(p->repository);
    free(p->reference);
    free(p);
}

void pull_manifest(struct fetcher *f, const struct manifest_request *q,
                   void (*done)(void *cls, const struct pulled *p, const struct error *why),
                   void *cls)
{
    struct manifest_pull *p = alloc_zero(sizeof *p);
    autofree char *path = alloc_format("/v2/%s/%s/%s", q->repository,
                                       q->is_blob ? "blobs" : "manifests", q->reference);
    p->request = *q;
    p->repository = alloc_string(q->repository);
    p->reference = alloc_string(q->reference);
    p->done = done;
    p->cls = cls;
    bool by_digest =
        strchr(q->reference, ':') != NULL && digest_parse(slice_of(q->reference), &p->asked) == 1;
    const struct race_request r = {.upstream = q->upstream,
                                   .order = q->needs_origin ? RACE_ORIGIN_ONLY
                                            : by_digest || q->upstream->resolves_anywhere
                                                ? RACE_ANY
                                                : RACE_ORIGIN_FIRST,
                                   .can_do_without = q->can_do_without,
                                   .repository = q->repository,
                                   .path = path,
                                   .accept = q->is_blob ? "*/*" : manifest_accept,
                                   .digest = by_digest ? q->reference : NULL,
                                   .is_head = q->is_head,
                                   .body_max = MANIFEST_MAX_BYTES,
                                   .noun = "manifest",
                                   .judge = manifest_judge,
                                   .on_done = manifest_answered,
                                   .cls = p};
    race_start(f, &r);
}
