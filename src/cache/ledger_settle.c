/* SPDX-License-Identifier: Apache-2.0
 * Waiting for the ledger, from outside: work that does nothing was done after what came before. */
#include "cache/ledger.h"

#include "base/thread.h"

struct settling {
    struct mutex mutex;
    pthread_cond_t is_changed;
    bool is_done; /* guarded by the mutex */
};

static int do_nothing(struct store *s, struct index *x, void *cls, struct error *e)
{
    (void)s, (void)x, (void)cls, (void)e;
    return 0;
}

static void tell_settled(void *cls, const struct error *e)
{
    struct settling *s = cls;
    (void)e;
    MUTEX_HOLD(&s->mutex);
    s->is_done = true;
    pthread_cond_signal(&s->is_changed);
}

void ledger_settle(struct ledger *l)
{
    struct settling s = {.is_done = false};
    mutex_init(&s.mutex, RANK_MAILBOX);
    cond_init(&s.is_changed);
    if (ledger_run(l, do_nothing, tell_settled, &s)) {
        MUTEX_HOLD(&s.mutex);
        while (!s.is_done)
            mutex_wait(&s.mutex, &s.is_changed, -1);
    }
    pthread_cond_destroy(&s.is_changed);
    mutex_fini(&s.mutex);
}
