/* SPDX-License-Identifier: Apache-2.0
 * Tokens: from the cache, or asked of the token service, once however many wait. Fetch thread only.
 * Inside of fetch/. */
#ifndef FETCH_AUTHORIZE_H
#define FETCH_AUTHORIZE_H

#include <stdbool.h>
#include <stdint.h>

struct authorization;
struct challenge;
struct error;
struct fetcher;
struct source;

/* Calls done once, never from within: with a token (borrowed during the call), or why there is
 * none: the service failed (ERR_UPSTREAM, ERR_TIMEOUT), refuses the anonymous (ERR_NAME_UNKNOWN) or
 * the configured credentials (ERR_CREDENTIALS). is_foreign: the challenge is not the upstream's
 * own, so its credentials stay here. */
struct authorization *
authorization_ask(struct fetcher *f, const struct source *s, const struct challenge *c,
                  bool is_foreign, const char *scope,
                  void (*done)(void *cls, const char *token, const struct error *why), void *cls);
void authorization_cancel(struct authorization *a); /* without done */
/* That token was refused: it goes from the cache, unless a newer one is there already. */
void authorization_forget(struct fetcher *f, const struct source *s, const struct challenge *c,
                          bool is_foreign, const char *scope, const char *token);
/* How long the token to pull that repository from there is still good; 0: there is none. */
int64_t authorization_left_ms(struct fetcher *f, const struct source *s, const char *repository);

#endif
