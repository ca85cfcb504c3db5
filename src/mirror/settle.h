/* SPDX-License-Identifier: Apache-2.0
 * Waiting until what has come is durable: for who must find it in the data folder next. */
#ifndef MIRROR_SETTLE_H
#define MIRROR_SETTLE_H

struct answer;
struct mirror;
struct reference;

/* One reference: ANSWER_DONE once what had come by now is durable, and what pin names is pinned
 * (NULL: nothing is); else ANSWER_ERROR. Any thread. */
struct answer *settle_ask(struct mirror *m, const struct reference *pin);

#endif
