/* SPDX-License-Identifier: Apache-2.0
 * Bearer tokens by (realm, service, scope, identity): memory only, at most 4,096, oldest out first.
 * No I/O; the time is passed in. Belongs to the fetch thread. (distribution token specification) */
#ifndef UPSTREAM_TOKEN_H
#define UPSTREAM_TOKEN_H

#include <stddef.h>
#include <stdint.h>

struct error;
struct tokens;

struct tokens *tokens_new(void);
void tokens_free(struct tokens *t);

struct token_key {
    const char *realm, *service, *scope;
    const char *identity; /* source.identity: of another password there is another token; "" if
                             anonymous */
};
/* Borrowed until the next put or forget; NULL if none or no longer good at now_ms (monotonic). */
const char *tokens_get(struct tokens *t, const struct token_key *k, int64_t now_ms);
/* Good until min(0.9 lifetime, lifetime - 10 s) from now. lifetime_s <= 0: 60. */
void tokens_put(struct tokens *t, const struct token_key *k, const char *token, int64_t lifetime_s,
                int64_t now_ms);
/* How long it is still good; 0: there is none. */
int64_t tokens_left_ms(struct tokens *t, const struct token_key *k, int64_t now_ms);
void tokens_forget(struct tokens *t, const struct token_key *k);

/* Reads a token service's answer: `token` or `access_token`, `expires_in` (absent: 60). *token is
 * owned by the caller. */
int token_read_answer(const char *bytes, size_t length, char **token, int64_t *lifetime_s,
                      struct error *e);
/* The URL to GET: realm?service=…&scope=… (& if it has a query), service left out when "". Owned by
 * the caller. */
char *token_url(const struct token_key *k);
/* "Basic <base64(user:password)>". Owned by the caller. */
char *token_basic(const char *user, const char *password);

#endif
