/* SPDX-License-Identifier: Apache-2.0
 * The bytes of a blob that nothing keeps: a bounded piece of it in memory that moves along with its
 * readers. They come in order; what every reader has passed goes. A reader holds back the others no
 * longer than they have patience: then it is cut off, and its client asks again. Knows offsets and
 * bytes only. Belongs to a flow and to that flow's mutex. */
#ifndef CACHE_WINDOW_H
#define CACHE_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* Somebody who reads from the front to the back; embedded in its owner. */
struct flow_reader {
    uint64_t at; /* nothing before is wanted any more */
    bool is_cut;
    LIST_ENTRY(flow_reader) next;
};

struct window_chunk;

struct window {
    STAILQ_HEAD(, window_chunk) chunks; /* by offset */
    LIST_HEAD(, flow_reader) readers;
    size_t bytes;
    uint64_t passed; /* whatever was kept in memory before here is gone */
};

enum { WINDOW_BYTES = 1 << 20 };

void window_init(struct window *w);
void window_fini(struct window *w); /* readers may remain */
void window_clear(struct window *w);
void window_add(struct window *w, uint64_t offset, const void *bytes, size_t length);
bool window_has_room(const struct window *w, size_t length);
/* What of it begins at offset: a borrowed pointer and how many bytes, or NULL; then *length is how
 * far it is to the next that is here (UINT64_MAX: there is none). */
const char *window_at(const struct window *w, uint64_t offset, uint64_t *length);

void window_join(struct window *w, struct flow_reader *r, uint64_t at);
void window_leave(struct window *w, struct flow_reader *r);
void window_move(struct window *w, struct flow_reader *r, uint64_t at);
/* Whoever holds it back goes, unless he is the only one. false: there is nobody at all. */
bool window_cut_last(struct window *w);

#endif
