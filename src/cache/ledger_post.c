/* SPDX-License-Identifier: Apache-2.0
 * Letters to the ledger: each is a copy of what its sender knows, for it outlives him. Any thread.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "cache/ledger_inside.h"

static char *copy_or_null(const char *text)
{
    return text ? alloc_string(text) : NULL;
}

static struct entry *entry_new(enum entry_kind kind, const char *registry, const char *repository,
                               const struct digest *d)
{
    struct entry *n = alloc_zero(sizeof(*n));
    n->kind = kind;
    n->fd = -1;
    n->now_s = clock_wall_s();
    n->registry = copy_or_null(registry);
    n->repository = copy_or_null(repository);
    if (d)
        n->digest = *d;
    return n;
}

void ledger_entry_free(struct entry *n)
{
    free(n->registry);
    free(n->repository);
    free(n->name);
    free(n->key);
    free(n->body);
    if (n->kind == ENTRY_MANIFEST)
        manifest_fini(&n->manifest);
    if (n->kind == ENTRY_SET_ASIDE && n->fd >= 0)
        close(n->fd);
    free(n);
}

static void copy_manifest(struct manifest *to, const struct manifest *from)
{
    *to = *from;
    to->artifact_type = copy_or_null(from->artifact_type);
    to->annotations = copy_or_null(from->annotations);
    to->children = NULL;
    if (!from->child_count)
        return;
    to->children = alloc_array(from->child_count, sizeof(*to->children));
    for (size_t i = 0; i < from->child_count; i++) {
        to->children[i] = from->children[i];
        to->children[i].media_type = copy_or_null(from->children[i].media_type);
        to->children[i].platform = copy_or_null(from->children[i].platform);
    }
}

/* Counted before it is posted, as the ledger may take it before this thread goes on. */
static bool post(struct ledger *l, struct entry *n, bool is_always)
{
    metric_add(ledger_queue, 1);
    if (is_always ? mailbox_post_always(l->mailbox, &n->letter)
                  : mailbox_post(l->mailbox, &n->letter))
        return true;
    metric_add(ledger_queue, -1);
    ledger_entry_free(n);
    return false;
}

static void post_or_drop(struct ledger *l, struct entry *n)
{
    if (!post(l, n, false))
        metric_add(ledger_errors_total, 1);
}

bool ledger_publish(struct ledger *l, const struct digest *d, int fd, uint64_t size_bytes,
                    const char *registry, const char *repository, ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_PUBLISH, registry, repository, d);
    n->fd = fd;
    n->size_bytes = (int64_t)size_bytes;
    n->done = done;
    n->cls = cls;
    return post(l, n, true);
}

bool ledger_publish_manifest(struct ledger *l, const struct digest *d, const void *bytes,
                             size_t length, const struct manifest *m, const char *registry,
                             const char *repository, const char *tag, ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_MANIFEST, registry, repository, d);
    n->body = alloc_bytes(bytes, length);
    n->length = length;
    n->size_bytes = (int64_t)length;
    n->name = copy_or_null(tag);
    n->done = done;
    n->cls = cls;
    copy_manifest(&n->manifest, m);
    return post(l, n, true);
}

bool ledger_run(struct ledger *l, ledger_work work, ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_RUN, NULL, NULL, NULL);
    n->work = work;
    n->done = done;
    n->cls = cls;
    return post(l, n, true);
}

void ledger_put_hold(struct ledger *l, const char *registry, const char *repository,
                     const struct digest *d, int64_t size_bytes)
{
    struct entry *n = entry_new(ENTRY_HOLD, registry, repository, d);
    n->size_bytes = size_bytes;
    post_or_drop(l, n);
}

void ledger_put_tag(struct ledger *l, const char *registry, const char *repository, const char *tag,
                    const struct digest *d)
{
    struct entry *n = entry_new(ENTRY_TAG, registry, repository, d);
    n->name = alloc_string(tag);
    post_or_drop(l, n);
}

void ledger_remove_tag(struct ledger *l, const char *registry, const char *repository,
                       const char *tag)
{
    struct entry *n = entry_new(ENTRY_REMOVE_TAG, registry, repository, NULL);
    n->name = alloc_string(tag);
    post_or_drop(l, n);
}

void ledger_put_listing(struct ledger *l, const char *registry, const char *repository,
                        const char *kind, const char *key, const char *body, size_t length)
{
    struct entry *n = entry_new(ENTRY_LISTING, registry, repository, NULL);
    n->name = alloc_string(kind);
    n->key = alloc_string(key);
    n->body = alloc_bytes(body, length);
    n->length = length;
    post_or_drop(l, n);
}

void ledger_touch(struct ledger *l, const struct digest *d)
{
    post_or_drop(l, entry_new(ENTRY_TOUCH, NULL, NULL, d));
}

void ledger_add_hits(struct ledger *l, const struct digest *d, int64_t hits)
{
    struct entry *n = entry_new(ENTRY_HITS, NULL, NULL, d);
    n->size_bytes = hits;
    post_or_drop(l, n);
}

bool ledger_pin(struct ledger *l, const char *registry, const char *repository,
                const char *reference, ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_PIN, registry, repository, NULL);
    n->name = alloc_string(reference);
    n->done = done;
    n->cls = cls;
    return post(l, n, true);
}

void ledger_remove_blob(struct ledger *l, const struct digest *d)
{
    post_or_drop(l, entry_new(ENTRY_REMOVE_BLOB, NULL, NULL, d));
}

bool ledger_set_aside(struct ledger *l, const struct digest *d, int fd, bool is_remembered,
                      ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_SET_ASIDE, NULL, NULL, d);
    n->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    n->is_remembered = is_remembered;
    n->done = done;
    n->cls = cls;
    return post(l, n, true);
}

void ledger_remove_partial(struct ledger *l, const struct digest *d)
{
    post_or_drop(l, entry_new(ENTRY_REMOVE_PARTIAL, NULL, NULL, d));
}

void ledger_listen(struct ledger *l, const struct evict_listener *e)
{
    struct entry *n = entry_new(ENTRY_LISTEN, NULL, NULL, NULL);
    n->listener = *e;
    post(l, n, true);
}

void ledger_make_room(struct ledger *l)
{
    post_or_drop(l, entry_new(ENTRY_MAKE_ROOM, NULL, NULL, NULL));
}

bool ledger_evict(struct ledger *l, struct evict_order *o, ledger_done done, void *cls)
{
    struct entry *n = entry_new(ENTRY_EVICT, NULL, NULL, NULL);
    n->order = o;
    n->done = done;
    n->cls = cls;
    return post(l, n, true);
}
