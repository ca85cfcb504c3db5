/* SPDX-License-Identifier: Apache-2.0
 * thread: the order of mutexes is checked, waiting ends by a signal or by time, threads carry their
 * name. A wrong order ends the process, so it is tried in a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"

static struct mutex low, middle, high, other_middle;

static int make_mutexes(void **state)
{
    (void)state;
    mutex_init(&low, RANK_FLIGHTS);
    mutex_init(&middle, RANK_FLOW);
    mutex_init(&other_middle, RANK_FLOW);
    mutex_init(&high, RANK_LOG);
    return 0;
}

static int drop_mutexes(void **state)
{
    (void)state;
    mutex_fini(&low);
    mutex_fini(&middle);
    mutex_fini(&other_middle);
    mutex_fini(&high);
    return 0;
}

/* Whether the check ends a process that does this. Builds without the check run to the end. */
static void assert_caught(void (*act)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit no_core = {0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        act();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
#ifdef NDEBUG
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#else
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#endif
}

static void take_falling(void)
{
    mutex_lock(&high);
    mutex_lock(&low);
}

static void take_two_of_a_rank(void)
{
    mutex_lock(&middle);
    mutex_lock(&other_middle);
}

static void wait_below_another(void)
{
    pthread_cond_t c;
    cond_init(&c);
    mutex_lock(&low);
    mutex_lock(&high);
    mutex_wait(&low, &c, 0);
}

static void taking_in_falling_rank_is_caught(void **state)
{
    (void)state;
    assert_caught(take_falling);
}

static void two_of_the_same_rank_are_caught(void **state)
{
    (void)state;
    assert_caught(take_two_of_a_rank);
}

static void waiting_while_a_higher_one_is_held_is_caught(void **state)
{
    (void)state;
    assert_caught(wait_below_another);
}

static void rising_rank_is_fine_in_any_order_of_giving_back(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        mutex_lock(&low);
        mutex_lock(&middle);
        mutex_unlock(&low);
        mutex_lock(&high);
        mutex_unlock(&middle);
        mutex_unlock(&high);
    }
    mutex_lock(&middle);
    mutex_unlock(&middle);
    mutex_lock(&other_middle);
    mutex_unlock(&other_middle);
}

static int leave_early(bool early)
{
    MUTEX_HOLD(&middle);
    if (early)
        return 1;
    return 2;
}

static void holding_ends_with_the_block_however_it_is_left(void **state)
{
    (void)state;
    assert_int_equal(leave_early(true), 1);
    assert_int_equal(leave_early(false), 2);
    {
        MUTEX_HOLD(&middle);
    }
    assert_int_equal(pthread_mutex_trylock(&middle.lock), 0);
    pthread_mutex_unlock(&middle.lock);
}

static void waiting_ends_when_the_time_is_over(void **state)
{
    (void)state;
    pthread_cond_t c;
    cond_init(&c);
    int64_t start = clock_mono_us();
    {
        MUTEX_HOLD(&middle);
        int result = 0;
        while (result == 0) /* until it is not for nothing */
            result = mutex_wait(&middle, &c, 20);
        assert_int_equal(result, 1);
    }
    assert_true(clock_mono_us() - start >= 20000);
    pthread_cond_destroy(&c);
}

struct meeting {
    struct mutex mutex;
    pthread_cond_t is_changed;
    bool is_there;
    bool is_answered;
};

static void *answer(void *cls)
{
    struct meeting *m = cls;
    MUTEX_HOLD(&m->mutex);
    while (!m->is_there)
        mutex_wait(&m->mutex, &m->is_changed, -1);
    m->is_answered = true;
    pthread_cond_signal(&m->is_changed);
    return cls;
}

static void waiting_ends_when_another_thread_signals(void **state)
{
    (void)state;
    struct meeting m = {.is_there = false};
    struct error e = {0};
    pthread_t t;
    void *result = NULL;
    mutex_init(&m.mutex, RANK_FLOW);
    cond_init(&m.is_changed);
    assert_int_equal(thread_start(&t, "answer", answer, &m, &e), 0);
    {
        MUTEX_HOLD(&m.mutex);
        m.is_there = true;
        pthread_cond_broadcast(&m.is_changed);
        while (!m.is_answered)
            assert_int_equal(mutex_wait(&m.mutex, &m.is_changed, INT64_MAX), 0);
    }
    pthread_join(t, &result);
    assert_ptr_equal(result, &m);
    pthread_cond_destroy(&m.is_changed);
    mutex_fini(&m.mutex);
}

struct seen {
    char name[16];
    sigset_t blocked;
};

static void *look(void *cls)
{
    struct seen *s = cls;
    pthread_getname_np(pthread_self(), s->name, sizeof(s->name));
    pthread_sigmask(SIG_SETMASK, NULL, &s->blocked);
    return NULL;
}

static void a_thread_has_its_name_from_the_start_and_no_signals(void **state)
{
    (void)state;
    struct seen s = {.name = ""};
    struct error e = {0};
    pthread_t t;
    assert_int_equal(thread_start(&t, "fifteen-letters", look, &s, &e), 0);
    pthread_join(t, NULL);
    assert_string_equal(s.name, "fifteen-letters");
    assert_true(sigismember(&s.blocked, SIGTERM));
    assert_true(sigismember(&s.blocked, SIGINT));
    assert_true(sigismember(&s.blocked, SIGHUP));
    assert_true(sigismember(&s.blocked, SIGCHLD));
}

static void starting_a_thread_leaves_the_starter_s_signals_alone(void **state)
{
    (void)state;
    struct seen s = {.name = ""};
    struct error e = {0};
    pthread_t t;
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(thread_start(&t, "look", look, &s, &e), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    pthread_join(t, NULL);
    for (int number = 1; number < SIGRTMIN; number++)
        assert_int_equal(sigismember(&before, number), sigismember(&after, number));
}

static void *count_up(void *cls)
{
    for (int i = 0; i < 20000; i++) {
        MUTEX_HOLD(&middle);
        ++*(int *)cls;
    }
    return NULL;
}

static void a_mutex_lets_one_thread_in_at_a_time(void **state)
{
    (void)state;
    struct error e = {0};
    pthread_t threads[4];
    int count = 0;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(thread_start(&threads[i], "count", count_up, &count, &e), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(count, 80000);
}

#define guarded(test) cmocka_unit_test_setup_teardown(test, make_mutexes, drop_mutexes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        guarded(taking_in_falling_rank_is_caught),
        guarded(two_of_the_same_rank_are_caught),
        guarded(waiting_while_a_higher_one_is_held_is_caught),
        guarded(rising_rank_is_fine_in_any_order_of_giving_back),
        guarded(holding_ends_with_the_block_however_it_is_left),
        guarded(waiting_ends_when_the_time_is_over),
        guarded(waiting_ends_when_another_thread_signals),
        guarded(a_thread_has_its_name_from_the_start_and_no_signals),
        guarded(starting_a_thread_leaves_the_starter_s_signals_alone),
        guarded(a_mutex_lets_one_thread_in_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
