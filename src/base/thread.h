/* SPDX-License-Identifier: Apache-2.0
 * Named threads and ranked mutexes. A mutex has a rank; a thread takes mutexes only in rising rank,
 * which debug builds (ASSERT_RANKS, on unless NDEBUG) assert. Nothing foreign is called with a
 * mutex held. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>

struct error;

enum rank {
    RANK_APP,
    RANK_FLIGHTS,
    RANK_FLOW,
    RANK_ROOM,
    RANK_RECALL,
    RANK_ANSWER,
    RANK_MAILBOX,
    RANK_CONNECTIONS,
    RANK_LOG
};

struct mutex {
    pthread_mutex_t lock;
    enum rank rank;
};

void mutex_init(struct mutex *m, enum rank rank);
void mutex_fini(struct mutex *m);
void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);
/* Waits on c with m held; timeout_ms < 0 waits for ever. Returns 0, or 1 on time-out. c uses the
 * monotonic clock. */
int mutex_wait(struct mutex *m, pthread_cond_t *c, int64_t timeout_ms);
void cond_init(pthread_cond_t *c); /* on the monotonic clock */

/* Holds m to the end of the enclosing block, however it is left. At most one in a block. */
static inline void mutex_auto_unlock_(struct mutex **m)
{
    if (*m)
        mutex_unlock(*m);
}
#define MUTEX_HOLD(m)                                                                              \
    __attribute__((cleanup(mutex_auto_unlock_))) struct mutex *held_ = (m);                        \
    mutex_lock(held_)

/* Starts a thread with all signals blocked; name at most 15 bytes. Joined by pthread_join. 0 or -1.
 */
int thread_start(pthread_t *t, const char *name, void *(*run)(void *), void *cls, struct error *e);
/* The calling thread gets the processor and the disk only where nobody else wants them. No way
 * back. */
void thread_yield_to_others(void);

#endif
