/* SPDX-License-Identifier: Apache-2.0
 * Named threads and ranked mutexes. Which ranks a thread holds is a set of bits of its own, so the
 * check costs no lock and needs no list: one mutex of a rank at most, and none while a higher one
 * is held. */
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

#ifndef NDEBUG
#define ASSERT_RANKS 1
#else
#define ASSERT_RANKS 0
#endif

#if ASSERT_RANKS
static _Thread_local unsigned held_ranks;

static void note_locking(const struct mutex *m)
{
    assert(held_ranks >> m->rank == 0 && "a mutex of this rank or a higher one is held already");
    held_ranks |= 1U << m->rank;
}

static void note_unlocking(const struct mutex *m)
{
    assert((held_ranks >> m->rank & 1) && "a mutex is given back that is not held");
    held_ranks &= ~(1U << m->rank);
}

static void note_waiting(const struct mutex *m)
{
    assert(held_ranks >> m->rank == 1 &&
           "waiting takes the mutex again, so nothing higher may be held");
}
#else
#define note_locking(m) ((void)(m))
#define note_unlocking(m) ((void)(m))
#define note_waiting(m) ((void)(m))
#endif

/* These calls fail for programming mistakes only, and going on without the lock would hide them. */
static void must(int result)
{
    if (result)
        abort();
}

void mutex_init(struct mutex *m, enum rank rank)
{
    m->rank = rank;
    must(pthread_mutex_init(&m->lock, NULL));
}

void mutex_fini(struct mutex *m)
{
    must(pthread_mutex_destroy(&m->lock));
}

void mutex_lock(struct mutex *m)
{
    note_locking(m); /* first, so that a wrong order is told instead of hanging */
    must(pthread_mutex_lock(&m->lock));
}

void mutex_unlock(struct mutex *m)
{
    note_unlocking(m);
    must(pthread_mutex_unlock(&m->lock));
}

void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attributes;
    must(pthread_condattr_init(&attributes));
    must(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC));
    must(pthread_cond_init(c, &attributes));
    must(pthread_condattr_destroy(&attributes));
}

/* The real clock, not clock_mono_ms: the C library waits on it even while a test has ours frozen.
 */
int mutex_wait(struct mutex *m, pthread_cond_t *c, int64_t timeout_ms)
{
    note_waiting(m);
    if (timeout_ms < 0) {
        must(pthread_cond_wait(c, &m->lock));
        return 0;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + timeout_ms % 1000 * 1000000;
    if (__builtin_add_overflow(until.tv_sec, timeout_ms / 1000 + ns / 1000000000, &until.tv_sec))
        until.tv_sec = INT64_MAX;
    until.tv_nsec = ns % 1000000000;
    int result = pthread_cond_timedwait(c, &m->lock, &until);
    if (result == ETIMEDOUT)
        return 1;
    must(result);
    return 0;
}

struct start {
    void *(*run)(void *);
    void *cls;
    char name[16];
};

/* The thread names itself: were it named from outside, it could run, and log, under its parent's
 * name at first. */
static void *begin(void *cls)
{
    struct start s = *(struct start *)cls;
    free(cls);
    pthread_setname_np(pthread_self(), s.name);
    return s.run(s.cls);
}

int thread_start(pthread_t *t, const char *name, void *(*run)(void *), void *cls, struct error *e)
{
    size_t length = strnlen(name, sizeof(((struct start *)NULL)->name));
    assert(length < sizeof(((struct start *)NULL)->name));
    struct start *s = alloc_zero(sizeof(*s));
    s->run = run;
    s->cls = cls;
    memcpy(s->name, name, length < sizeof(s->name) ? length : sizeof(s->name) - 1);

    sigset_t all, before;
    sigfillset(&all);
    must(pthread_sigmask(SIG_SETMASK, &all, &before));
    int result = pthread_create(t, NULL, begin, s);
    must(pthread_sigmask(SIG_SETMASK, &before, NULL));
    if (result) {
        free(s);
        errno = result;
        return error_errno(e, "start thread %s", name);
    }
    return 0;
}

/* What linux/ioprio.h says; not every libc's headers have it. */
enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_IDLE = 3 << 13 };

void thread_yield_to_others(void)
{
    pid_t self = (pid_t)syscall(SYS_gettid);
    setpriority(PRIO_PROCESS, (id_t)self, 19);
    syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, self, IOPRIO_IDLE);
}
