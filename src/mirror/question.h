/* SPDX-License-Identifier: Apache-2.0
 * A question that has to be asked upstream: its steps on the fetch thread until its answer is done.
 * Inside of mirror/. */
#ifndef MIRROR_QUESTION_H
#define MIRROR_QUESTION_H

#include "mirror/mirror.h"

struct content;
struct flights;
struct known;

struct mirror {
    struct mirror_options options;
    struct store *store;
    struct ledger *ledger;
    struct fetcher *fetcher;
    struct known *known;
    struct flights *flights;
    struct ahead *ahead;
    bool is_stopping; /* atomic */
    unsigned working; /* atomic: how many commands the ledger has yet to do */
};

/* Joins the question of that key or begins it. held: the content that may be served if the upstream
 * cannot tell (a reference is taken; NULL: none). stale: the same for a listing. ended: of
 * flights_ended, read before looking what is held; NULL: look again. Any thread. */
struct answer *question_ask(struct mirror *m, const struct ask *a, const char *key,
                            struct content *held, struct answer *stale, uint64_t ended,
                            bool *joined);

#endif
