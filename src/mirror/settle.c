/* SPDX-License-Identifier: Apache-2.0
 * By way of the fetch thread to the ledger's: behind all that was posted there. */
#include "mirror/settle.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "cache/ledger.h"
#include "fetch/fetcher.h"
#include "mirror/answer.h"
#include "mirror/question.h"
#include "oci/reference.h"

struct settling {
    struct call call; /* first */
    struct mirror *mirror;
    struct answer *answer;
    struct reference pin;
};

static int nothing(struct store *s, struct index *x, void *cls, struct error *e)
{
    (void)s, (void)x, (void)cls, (void)e;
    return 0;
}

static void settled(void *cls, const struct error *e)
{
    struct settling *s = cls;
    struct mirror *m = s->mirror;
    s->answer->kind = e ? ANSWER_ERROR : ANSWER_DONE;
    if (e)
        s->answer->error = *e;
    answer_finish(s->answer);
    answer_unref(s->answer);
    free(s);
    __atomic_sub_fetch(&m->working, 1, __ATOMIC_ACQ_REL);
}

static void refuse(struct settling *s)
{
    struct error e;
    error_set(&e, ERR_STOPPING, "the mirror is stopping, or too much waits for it");
    settled(s, &e);
}

/* What is verified was posted to the ledger in the fetch thread's round before this one. */
static void post(struct call *c)
{
    struct settling *s = (struct settling *)c;
    struct ledger *l = s->mirror->ledger;
    const struct reference *pin = &s->pin;
    char digest[DIGEST_TEXT_MAX];
    const char *what = pin->digest.algorithm ? digest_print(&pin->digest, digest) : pin->tag;
    bool is_posted = what[0] ? ledger_pin(l, pin->registry, pin->repository, what, settled, s)
                             : ledger_run(l, nothing, settled, s);
    if (!is_posted)
        refuse(s);
}

struct answer *settle_ask(struct mirror *m, const struct reference *pin)
{
    __atomic_add_fetch(&m->working, 1, __ATOMIC_ACQ_REL);
    struct answer *result = answer_new();
    struct settling *s = alloc_zero(sizeof *s);
    *s = (struct settling){.call = {.run = post}, .mirror = m, .answer = answer_ref(result)};
    if (pin)
        s->pin = *pin;
    if (__atomic_load_n(&m->is_stopping, __ATOMIC_ACQUIRE) || !fetcher_post(m->fetcher, &s->call))
        refuse(s);
    return result;
}
