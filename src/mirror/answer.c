/* SPDX-License-Identifier: Apache-2.0
 * The public part comes first, so that readers of a finished answer need no call. */
#include "mirror/answer.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "fetch/survey.h"

struct pending {
    struct answer answer; /* first */
    atomic_uint references;
    struct mutex mutex; /* guards all below, and answer until is_done */
    bool is_done;
    STAILQ_HEAD(, waiter) waiters;
};

const char *answer_cache_name(enum cache_outcome cache)
{
    static const char *const names[] = {"hit",   "stored",    "collapsed", "revalidated",
                                        "stale", "forwarded", "none"};
    return names[cache];
}

struct answer *answer_new(void)
{
    struct pending *p = alloc_zero(sizeof *p);
    atomic_init(&p->references, 1);
    mutex_init(&p->mutex, RANK_ANSWER);
    STAILQ_INIT(&p->waiters);
    return &p->answer;
}

struct answer *answer_ref(struct answer *a)
{
    atomic_fetch_add(&((struct pending *)a)->references, 1);
    return a;
}

void answer_unref(struct answer *a)
{
    struct pending *p = (struct pending *)a;
    if (atomic_fetch_sub(&p->references, 1) != 1)
        return;
    if (a->content)
        content_unref(a->content);
    if (a->flow)
        flow_unref(a->flow);
    free(a->items);
    survey_free(a->survey);
    mutex_fini(&p->mutex);
    free(p);
}

void answer_finish(struct answer *a)
{
    struct pending *p = (struct pending *)a;
    STAILQ_HEAD(, waiter) ready = STAILQ_HEAD_INITIALIZER(ready);
    mutex_lock(&p->mutex);
    p->is_done = true;
    STAILQ_CONCAT(&ready, &p->waiters);
    mutex_unlock(&p->mutex);
    struct waiter *w;
    while ((w = STAILQ_FIRST(&ready))) {
        STAILQ_REMOVE_HEAD(&ready, next);
        w->wake(w);
    }
}

bool answer_is_done(struct answer *a)
{
    struct pending *p = (struct pending *)a;
    MUTEX_HOLD(&p->mutex);
    return p->is_done;
}

bool answer_await(struct answer *a, struct waiter *w)
{
    struct pending *p = (struct pending *)a;
    MUTEX_HOLD(&p->mutex);
    if (p->is_done)
        return false;
    STAILQ_INSERT_TAIL(&p->waiters, w, next);
    return true;
}
