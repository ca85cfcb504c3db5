/* SPDX-License-Identifier: Apache-2.0
 * A bounded queue into one thread: a way across without shared state. Messages are embedded structs
 * that the sender allocates and the receiver owns once posted. Posting: any thread, never waits.
 * Taking: the one receiving thread. */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct letter { /* embed as the first member */
    STAILQ_ENTRY(letter) next;
};

struct mailbox;

/* limit: letters waiting at most. wake (may be NULL) is called after each post and after the close,
 * with no lock held, on the thread that posts or closes; it must be safe from any thread. */
struct mailbox *mailbox_new(size_t limit, void (*wake)(void *cls), void *cls);
void mailbox_free(struct mailbox *m); /* must be empty */

/* false when full or closed: the letter stays the sender's. */
bool mailbox_post(struct mailbox *m, struct letter *letter);
/* The same past the limit: for letters whose number is bounded elsewhere (a publish per flow).
 * false only if closed. */
bool mailbox_post_always(struct mailbox *m, struct letter *letter);
/* The oldest letter, or NULL: at once (timeout_ms 0), after waiting that long, or (-1) only once
 * closed and empty. */
struct letter *mailbox_take(struct mailbox *m, int64_t timeout_ms);
void mailbox_close(
    struct mailbox *m); /* further posts are refused; the receiver drains what is left */
size_t mailbox_count(struct mailbox *m);
bool mailbox_is_over(struct mailbox *m); /* closed and empty */

#endif
