/* SPDX-License-Identifier: Apache-2.0
 * A bounded queue into one thread. Knows letters only as links: what they carry is between sender
 * and receiver. */
#include "base/mailbox.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/thread.h"

struct mailbox {
    void (*wake)(void *cls);
    void *cls;
    size_t limit;

    struct mutex mutex; /* guards all below */
    pthread_cond_t is_changed;
    STAILQ_HEAD(letters, letter) letters;
    size_t count;
    bool is_closed;
};

struct mailbox *mailbox_new(size_t limit, void (*wake)(void *cls), void *cls)
{
    struct mailbox *m = alloc_zero(sizeof(*m));
    m->wake = wake;
    m->cls = cls;
    m->limit = limit;
    mutex_init(&m->mutex, RANK_MAILBOX);
    cond_init(&m->is_changed);
    STAILQ_INIT(&m->letters);
    return m;
}

void mailbox_free(struct mailbox *m)
{
    if (!m)
        return;
    assert(STAILQ_EMPTY(&m->letters));
    pthread_cond_destroy(&m->is_changed);
    mutex_fini(&m->mutex);
    free(m);
}

static bool put(struct mailbox *m, struct letter *letter, size_t limit)
{
    /* Copied: once the letter is in, the receiver may take it and free the mailbox. */
    void (*wake)(void *) = m->wake;
    void *cls = m->cls;
    {
        MUTEX_HOLD(&m->mutex);
        if (m->is_closed || m->count >= limit)
            return false;
        STAILQ_INSERT_TAIL(&m->letters, letter, next);
        m->count++;
        pthread_cond_signal(&m->is_changed);
    }
    if (wake)
        wake(cls);
    return true;
}

bool mailbox_post(struct mailbox *m, struct letter *letter)
{
    return put(m, letter, m->limit);
}

bool mailbox_post_always(struct mailbox *m, struct letter *letter)
{
    return put(m, letter, SIZE_MAX);
}

/* The clock that mutex_wait waits on, even while a test has clock_mono_ms frozen. */
static int64_t waiting_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct letter *mailbox_take(struct mailbox *m, int64_t timeout_ms)
{
    int64_t until_ms = timeout_ms > 0 ? waiting_clock_ms() + timeout_ms : 0;
    int64_t left_ms = timeout_ms;
    MUTEX_HOLD(&m->mutex);
    while (STAILQ_EMPTY(&m->letters)) {
        if (m->is_closed || left_ms == 0)
            return NULL;
        bool is_late = mutex_wait(&m->mutex, &m->is_changed, left_ms) == 1;
        if (timeout_ms > 0) { /* woken for nothing: the rest of the time only */
            left_ms = is_late ? 0 : until_ms - waiting_clock_ms();
            left_ms = left_ms < 0 ? 0 : left_ms;
        }
    }
    struct letter *first = STAILQ_FIRST(&m->letters);
    STAILQ_REMOVE_HEAD(&m->letters, next);
    m->count--;
    return first;
}

void mailbox_close(struct mailbox *m)
{
    void (*wake)(void *) = m->wake;
    void *cls = m->cls;
    {
        MUTEX_HOLD(&m->mutex);
        m->is_closed = true;
        pthread_cond_broadcast(&m->is_changed);
    }
    if (wake)
        wake(cls);
}

size_t mailbox_count(struct mailbox *m)
{
    MUTEX_HOLD(&m->mutex);
    return m->count;
}

bool mailbox_is_over(struct mailbox *m)
{
    MUTEX_HOLD(&m->mutex);
    return m->is_closed && m->count == 0;
}
