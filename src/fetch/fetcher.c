/* SPDX-License-Identifier: Apache-2.0
 * The loop: letters, timers that are due, libcurl, what libcurl finished; then sleep until one of
 * them has news. */
#include "fetch/fetcher.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "fetch/inside.h"
#include "upstream/token.h"

enum { MAILBOX_LIMIT = 16384, LETTERS_A_ROUND = 256, SLEEP_MS = 60000 };

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void wake(void *cls)
{
    curl_multi_wakeup(((struct fetcher *)cls)->multi);
}

bool fetcher_post(struct fetcher *f, struct call *c)
{
    metric_add(fetch_queue, 1); /* before the letter can be taken, so that it is never negative */
    if (!fetcher_is_stopping(f) && mailbox_post(f->mailbox, &c->letter))
        return true;
    metric_add(fetch_queue, -1);
    return false;
}

bool fetcher_is_tight(const struct fetcher *f)
{
    for (const struct host *h = f->hosts; h; h = h->hh.next)
        if (!TAILQ_EMPTY(&h->waiting))
            return true;
    return false;
}

bool fetcher_is_stopping(const struct fetcher *f)
{
    return __atomic_load_n(&f->is_stopping, __ATOMIC_ACQUIRE);
}

const struct fetcher_options *fetcher_get_options(const struct fetcher *f)
{
    return &f->options;
}

struct tokens *fetcher_tokens(struct fetcher *f)
{
    return f->tokens;
}

/* --- timers ----------------------------------------------------------------------------------- */

void fetcher_clear_timer(struct fetcher *f, struct timer *t)
{
    if (t->is_set)
        TAILQ_REMOVE(&f->timers, t, next);
    t->is_set = false;
}

void fetcher_set_timer(struct fetcher *f, struct timer *t, int64_t delay_ms)
{
    struct timer *other;
    fetcher_clear_timer(f, t);
    t->due_ms = clock_mono_ms() + delay_ms;
    t->is_set = true;
    TAILQ_FOREACH_REVERSE(other, &f->timers, timers, next)
    {
        if (other->due_ms <= t->due_ms) {
            TAILQ_INSERT_AFTER(&f->timers, other, t, next);
            return;
        }
    }
    TAILQ_INSERT_HEAD(&f->timers, t, next);
}

/* One round: what is due now, not what those set anew. */
static void run_timers(struct fetcher *f, bool all)
{
    struct timer *t;
    int64_t now = clock_mono_ms();
    unsigned count = 0;
    TAILQ_FOREACH(t, &f->timers, next)
    {
        if (!all && t->due_ms > now)
            break;
        count++;
    }
    while (count-- > 0 && (t = TAILQ_FIRST(&f->timers)) && (all || t->due_ms <= now)) {
        fetcher_clear_timer(f, t);
        t->run(t);
    }
}

static int64_t next_due_in(const struct fetcher *f)
{
    const struct timer *t = TAILQ_FIRST(&f->timers);
    if (!t)
        return SLEEP_MS;
    int64_t in = t->due_ms - clock_mono_ms();
    return in < 0 ? 0 : in < SLEEP_MS ? in : SLEEP_MS;
}

/* --- the loop --------------------------------------------------------------------------------- */

static bool run_letters(struct fetcher *f)
{
    struct letter *l;
    for (unsigned i = 0; i < LETTERS_A_ROUND; i++) {
        if (!(l = mailbox_take(f->mailbox, 0)))
            return false;
        metric_add(fetch_queue, -1);
        struct call *c = (struct call *)l;
        c->run(c);
    }
    return true;
}

static void perform(struct fetcher *f)
{
    int running, left;
    CURLMsg *message;
    curl_multi_perform(f->multi, &running);
    while ((message = curl_multi_info_read(f->multi, &left)))
        if (message->msg == CURLMSG_DONE)
            transfer_ended(message->easy_handle, message->data.result);
    transfer_begin_waiting(f);
}

static void wind_up(struct fetcher *f)
{
    mailbox_close(f->mailbox);
    while (run_letters(f) || !TAILQ_EMPTY(&f->timers) || f->hosts) {
        transfer_end_all(f);
        run_timers(f, true);
    }
}

static void *loop(void *cls)
{
    struct fetcher *f = cls;
    while (!fetcher_is_stopping(f)) {
        bool has_more = run_letters(f);
        run_timers(f, false);
        perform(f);
        curl_multi_poll(f->multi, NULL, 0, has_more ? 0 : (int)next_due_in(f), NULL);
    }
    wind_up(f);
    return NULL;
}

struct fetcher *fetcher_start(const struct fetcher_options *o, struct error *e)
{
    pthread_once(&once, init_curl);
    struct fetcher *f = alloc_zero(sizeof *f);
    f->options = *o;
    f->user_agent = alloc_string(o->user_agent);
    f->options.user_agent = f->user_agent;
    TAILQ_INIT(&f->timers);
    TAILQ_INIT(&f->running);
    f->tokens = tokens_new();
    f->mailbox = mailbox_new(MAILBOX_LIMIT, wake, f);
    f->multi = curl_multi_init();
    f->share = curl_share_init();
    if (!f->multi || !f->share)
        abort();
    curl_share_setopt(f->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    curl_multi_setopt(f->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, (long)o->max_transfers);
    if (thread_start(&f->thread, "fetch", loop, f, e) == 0)
        return f;
    curl_multi_cleanup(f->multi);
    curl_share_cleanup(f->share);
    mailbox_close(f->mailbox);
    mailbox_free(f->mailbox);
    tokens_free(f->tokens);
    free(f->user_agent);
    free(f);
    return NULL;
}

void fetcher_stop(struct fetcher *f)
{
    __atomic_store_n(&f->is_stopping, true, __ATOMIC_RELEASE);
    curl_multi_wakeup(f->multi);
    pthread_join(f->thread, NULL);
    curl_multi_cleanup(f->multi);
    curl_share_cleanup(f->share);
    mailbox_free(f->mailbox);
    tokens_free(f->tokens);
    free(f->user_agent);
    free(f);
}
