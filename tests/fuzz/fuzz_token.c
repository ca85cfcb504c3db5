/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a token service's answer, and, between line ends, as the realm, service and scope of
 * a challenge. */
#include <string.h>

#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"
#include "fuzz.h"
#include "upstream/token.h"

/* A token stands in a header of ours: it must not be able to begin another one. */
static void check_answer(const char *bytes, size_t size)
{
    struct error e = {0};
    autofree char *token = NULL;
    int64_t lifetime_s = 0;
    if (token_read_answer(bytes, size, &token, &lifetime_s, &e) < 0) {
        must(!token && e.text[0]);
        return;
    }
    must(token[0] && !strpbrk(token, "\r\n"));
    struct tokens *t = tokens_new();
    const struct token_key k = {"https://realm", "service", "scope", ""};
    tokens_put(t, &k, token, lifetime_s, 1000);
    int64_t left_ms = tokens_left_ms(t, &k, 1000);
    must(left_ms <= INT64_C(86400) * 366 * 1000);
    must(left_ms == 0 || strcmp(tokens_get(t, &k, 1000), token) == 0);
    tokens_free(t);
}

/* Service and scope add their two arguments and nothing else, whatever they hold. */
static void check_url(const char *realm, const char *service, const char *scope)
{
    const struct token_key k = {realm, service, scope, ""};
    autofree char *url = token_url(&k);
    size_t n = strlen(realm), joints = 0;
    must(strncmp(url, realm, n) == 0);
    for (const char *c = url + n; *c; c++) {
        must((unsigned char)*c > ' ' && (unsigned char)*c < 0x7F && *c != '#');
        joints += *c == '&' || *c == '?';
    }
    must(joints == (size_t)(service[0] != 0) + (scope[0] != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    autofree char *text = slice_dup((struct slice){(const char *)data, size});
    check_answer(text, size);
    char *save = text, *realm = strsep(&save, "\n"), *service = strsep(&save, "\n");
    check_url(realm, service ? service : "", save ? save : "");
    return 0;
}
