/* SPDX-License-Identifier: Apache-2.0
 * The end is a work like the others: what a work posts while it runs, it posts before the box is
 * closed. */
#include "cache/hashing.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/metrics.h"
#include "base/thread.h"

struct hashing {
    struct mailbox *mailbox;
    pthread_t thread;
    struct hash_work last;
    bool is_over; /* the thread's */
};

static void end(struct hash_work *w)
{
    struct hashing *h = (struct hashing *)((char *)w - offsetof(struct hashing, last));
    h->is_over = true;
}

static void *loop(void *cls)
{
    struct hashing *h = cls;
    while (!h->is_over || mailbox_count(h->mailbox) > 0) {
        struct hash_work *w = (struct hash_work *)mailbox_take(h->mailbox, -1);
        metric_add(hashing_queue, -1);
        w->run(w);
    }
    return NULL;
}

struct hashing *hashing_start(struct error *e)
{
    struct hashing *h = alloc_zero(sizeof *h);
    h->mailbox = mailbox_new(0, NULL, NULL);
    h->last.run = end;
    if (thread_start(&h->thread, "hash", loop, h, e) == 0)
        return h;
    mailbox_free(h->mailbox);
    free(h);
    return NULL;
}

void hashing_stop(struct hashing *h)
{
    hashing_post(h, &h->last);
    pthread_join(h->thread, NULL);
    mailbox_close(h->mailbox);
    mailbox_free(h->mailbox);
    free(h);
}

void hashing_post(struct hashing *h, struct hash_work *w)
{
    metric_add(hashing_queue, 1); /* first: it may be taken at once */
    bool is_posted = mailbox_post_always(h->mailbox, &w->letter);
    assert(is_posted);
    (void)is_posted;
}
