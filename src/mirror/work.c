/* SPDX-License-Identifier: Apache-2.0
 * Memory is told of each blob that goes, while it goes, and forgets all names once the work is
 * done: they are few, and found again in the index. */
#include "mirror/work.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cache/eviction.h"
#include "cache/ledger.h"
#include "mirror/answer.h"
#include "mirror/known.h"
#include "mirror/question.h"

struct work {
    struct mirror *mirror;
    struct answer *answer;
    const char *verb;
    keep_work does;
    struct str request, report;
    struct eviction eviction; /* of work_evict */
};

static void forget_blob(void *cls, const struct digest *d)
{
    known_forget_content(cls, d);
}

static int run(struct store *s, struct index *x, void *cls, struct error *e)
{
    struct work *w = cls;
    const struct keep k = {.store = s, .index = x, .gone = forget_blob, .cls = w->mirror->known};
    return w->does(&k, (struct slice){str_text(&w->request), w->request.length}, &w->report, e);
}

static void done(void *cls, const struct error *e)
{
    struct work *w = cls;
    struct mirror *m = w->mirror;
    w->answer->kind = e ? ANSWER_ERROR : ANSWER_DONE;
    if (e)
        w->answer->error = *e;
    else
        w->answer->items = str_take(&w->report);
    log_event(LOG_LEVEL_INFO, e ? "a command was refused" : "a command was done",
              LOG_S("command", w->verb), LOG_S("reason", e ? e->text : NULL), LOG_END);
    known_forget_names(m->known);
    answer_finish(w->answer);
    answer_unref(w->answer);
    str_fini(&w->request);
    str_fini(&w->report);
    free(w);
    __atomic_sub_fetch(&m->working, 1, __ATOMIC_ACQ_REL);
}

static struct work *work_new(struct mirror *m, const char *verb, struct answer *result)
{
    struct work *w = alloc_zero(sizeof *w);
    __atomic_add_fetch(&m->working, 1, __ATOMIC_ACQ_REL);
    w->mirror = m;
    w->answer = answer_ref(result);
    w->verb = verb;
    return w;
}

/* Counted (in work_new) before it is looked whether the mirror is stopping: who stops looks the
 * other way round. */
static bool is_stopping(const struct work *w)
{
    return __atomic_load_n(&w->mirror->is_stopping, __ATOMIC_ACQUIRE);
}

static const struct error *stopping(struct error *e)
{
    error_set(e, ERR_STOPPING, "the mirror is stopping");
    return e;
}

struct answer *work_begin(struct mirror *m, const char *verb, keep_work does, struct slice request)
{
    struct error e = {0};
    struct answer *result = answer_new();
    struct work *w = work_new(m, verb, result);
    w->does = does;
    str_add_bytes(&w->request, request.at, request.length);
    if (is_stopping(w) || !ledger_run(m->ledger, run, done, w))
        done(w, stopping(&e));
    return result;
}

static void evicted(void *cls, const struct error *e)
{
    struct work *w = cls;
    if (!e)
        eviction_report(&w->eviction, &w->report);
    eviction_fini(&w->eviction);
    done(w, e);
}

struct answer *work_evict(struct mirror *m, struct slice request)
{
    struct error e = {0};
    struct answer *result = answer_new();
    struct work *w = work_new(m, "evict", result);
    if (eviction_init(&w->eviction, request, &e) < 0)
        evicted(w, &e);
    else if (is_stopping(w) || !ledger_evict(m->ledger, &w->eviction.order, evicted, w))
        evicted(w, stopping(&e));
    return result;
}
