/* SPDX-License-Identifier: Apache-2.0
 * A token is opaque: it is kept and sent, never looked into. */
#include "upstream/token.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

enum { MAX_TOKENS = 4096, DEFAULT_LIFETIME_S = 60 };

struct entry {
    UT_hash_handle hh;
    char *key;
    char *token;
    int64_t until_ms;
};

struct tokens {
    struct entry *all; /* uthash keeps the order of insertion: the first is the oldest */
};

struct tokens *tokens_new(void)
{
    return alloc_zero(sizeof(struct tokens));
}

static void drop(struct tokens *t, struct entry *e)
{
    HASH_DEL(t->all, e);
    free(e->key);
    free(e->token);
    free(e);
}

void tokens_free(struct tokens *t)
{
    while (t->all)
        drop(t, t->all);
    free(t);
}

static char *join(const struct token_key *k)
{
    return alloc_format("%s\n%s\n%s\n%s", k->realm, k->service, k->scope, k->identity);
}

static struct entry *find(struct tokens *t, const struct token_key *k)
{
    struct entry *e;
    autofree char *key = join(k);
    HASH_FIND(hh, t->all, key, strlen(key), e);
    return e;
}

const char *tokens_get(struct tokens *t, const struct token_key *k, int64_t now_ms)
{
    struct entry *e = find(t, k);
    return e && now_ms < e->until_ms ? e->token : NULL;
}

int64_t tokens_left_ms(struct tokens *t, const struct token_key *k, int64_t now_ms)
{
    struct entry *e = find(t, k);
    return e && now_ms < e->until_ms ? e->until_ms - now_ms : 0;
}

void tokens_forget(struct tokens *t, const struct token_key *k)
{
    struct entry *e = find(t, k);
    if (e)
        drop(t, e);
}

void tokens_put(struct tokens *t, const struct token_key *k, const char *token, int64_t lifetime_s,
                int64_t now_ms)
{
    int64_t lifetime_ms = (lifetime_s > 0 ? lifetime_s < 86400 * 365 ? lifetime_s : 86400 * 365
                                          : DEFAULT_LIFETIME_S) *
                          1000;
    int64_t early = lifetime_ms - 10000, most = lifetime_ms / 10 * 9;
    tokens_forget(t, k);
    if (HASH_COUNT(t->all) >= MAX_TOKENS)
        drop(t, t->all);
    struct entry *e = alloc_zero(sizeof *e);
    e->key = join(k);
    e->token = alloc_string(token);
    e->until_ms = now_ms + (early < most ? early : most);
    /* NOLINTNEXTLINE: clang 14 does not see that what was dropped is out of the table */
    HASH_ADD_KEYPTR(hh, t->all, e->key, strlen(e->key), e);
}

int token_read_answer(const char *bytes, size_t length, char **token, int64_t *lifetime_s,
                      struct error *e)
{
    autojson struct json_t *answer = json_parse(bytes, length, e);
    if (!answer)
        return error_prefix(e, "the token service's answer");
    const char *found = json_get_string(answer, "token");
    if (!found || !found[0])
        found = json_get_string(answer, "access_token");
    if (!found || !found[0] || strpbrk(found, "\r\n"))
        return error_set(e, ERR_UPSTREAM, "the token service's answer holds no token");
    int64_t seconds = DEFAULT_LIFETIME_S;
    json_get_integer(answer, "expires_in", &seconds);
    *token = alloc_string(found);
    *lifetime_s = seconds;
    return 0;
}

char *token_url(const struct token_key *k)
{
    autostr struct str url = {0};
    char joint = strchr(k->realm, '?') ? '&' : '?';
    str_add(&url, k->realm);
    if (k->service[0]) {
        str_add_char(&url, joint);
        str_add(&url, "service=");
        str_percent_encode(&url, slice_of(k->service), "");
        joint = '&';
    }
    if (k->scope[0]) {
        str_add_char(&url, joint);
        str_add(&url, "scope=");
        str_percent_encode(&url, slice_of(k->scope), ":/,");
    }
    return str_take(&url);
}

char *token_basic(const char *user, const char *password)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    autofree char *plain = alloc_format("%s:%s", user, password);
    size_t n = strlen(plain);
    autostr struct str out = {0};
    str_add(&out, "Basic ");
    for (size_t i = 0; i < n; i += 3) {
        unsigned a = (unsigned char)plain[i], b = i + 1 < n ? (unsigned char)plain[i + 1] : 0;
        unsigned c = i + 2 < n ? (unsigned char)plain[i + 2] : 0, bits = a << 16 | b << 8 | c;
        str_add_char(&out, digits[bits >> 18]);
        str_add_char(&out, digits[bits >> 12 & 63]);
        str_add_char(&out, i + 1 < n ? digits[bits >> 6 & 63] : '=');
        str_add_char(&out, i + 2 < n ? digits[bits & 63] : '=');
    }
    return str_take(&out);
}
