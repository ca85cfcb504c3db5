/* SPDX-License-Identifier: Apache-2.0
 * One question to the sources of a registry, in the order that their health suggests. What fails
 * or lacks it is followed by the next at once; what gives no sign is joined by the next after a
 * short delay, and the first good answer wins. Keeps the sources' health, logs when one is left out
 * and when it is back, probes those that were. Fetch thread only.
 *
 * A mirror's 404 means that this mirror does not have it; the origin's alone is the answer. When
 * all fail, the origin's failure is the one that is told, so an outage is never a 404. */
#ifndef FETCH_RACE_H
#define FETCH_RACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct fetcher;
struct head;
struct race;
struct source;
struct str;
struct upstream;

enum race_order {
    RACE_ANY,          /* bytes that prove themselves: by health */
    RACE_ORIGIN_FIRST, /* mirrors only if the origin does not answer */
    RACE_ORIGIN_ONLY,  /* what mirrors cannot vouch for */
};

struct race_request {
    struct upstream *upstream;
    enum race_order order;
    struct source *only; /* that one and no other (a page of its listing); NULL: all */
    bool can_do_without; /* the caller has something to serve: an origin that is out is not waited
                            for */
    const char *repository, *path, *accept;
    const char *digest; /* of what is asked for; NULL: by name */
    bool is_head, has_range;
    uint64_t range_first, range_last; /* range_last UINT64_MAX: to the end */
    uint32_t avoid;                   /* bits of sources that are not asked */
    /* Either judge: the answer comes whole, at most body_max bytes, and is then judged, perhaps
     * several times; 0 makes it the winner, -1 (e filled; ERR_CORRUPT: wrong bytes) goes on to the
     * next source. */
    size_t body_max;
    const char *noun; /* of what is asked for, in an error: "manifest" */
    int (*judge)(void *cls, const struct source *s, const struct head *head, const struct str *body,
                 struct error *e);
    /* Or on_head and on_body: the first source whose body begins wins if on_head takes it (0), and
     * all its bytes are passed on. -1 as above. */
    int (*on_head)(void *cls, struct source *s, const struct head *head, struct error *e);
    int (*on_body)(void *cls, const void *bytes, size_t length, struct error *e);
    /* The end, once, never from within race_start. source: the winner, also when it broke later;
     * NULL: none answered. Borrowed: head and body, of the winner. */
    void (*on_done)(void *cls, struct source *source, const struct head *head,
                    const struct str *body, const struct error *why);
    void *cls;
};

/* The sources in the order in which such a race, begun now, would ask them; the count. room:
 * SOURCES_MAX. */
size_t race_line(const struct race_request *r, struct source **line);
/* Strings are copied. Never fails: what goes wrong is told by on_done. */
struct race *race_start(struct fetcher *f, const struct race_request *r);
/* Ends it without on_done, its winner being too slow to go on with. */
void race_give_up(struct race *r);
/* Ends it without on_done, its winner having brought what was wanted of it. */
void race_leave(struct race *r);

#endif
