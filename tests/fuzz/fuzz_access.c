/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a file of users, as a network, and as the Authorization header of a visitor to a
 * mirror with one user. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"
#include "folder.h"
#include "fuzz.h"
#include "serve/access.h"

/* "user" with the password "right", hashed as quickly as crypt(3) can */
#define USER "user:$5$rounds=1000$salt$jmWlX.WMmU0.rE0RvWQVpnv3gAtcUKsIbtS2DDkjkW.\n"
#define RIGHT "dXNlcjpyaWdodA=="

static void check_users(const uint8_t *data, size_t size)
{
    struct error e = {0};
    const struct access_options o = {.users = fuzz_file(data, size)};
    struct access *a = access_load(&o, &e), *again;
    if (!a) {
        must(e.kind == ERR_USAGE && e.text[0]);
        return;
    }
    must(!access_is_empty(a));
    must((again = access_load(&o, &e)) && access_is_same(a, again));
    access_free(again);
    access_free(a);
}

static void check_network(const char *text)
{
    struct error e = {0};
    struct sockaddr_in from = {.sin_family = AF_INET};
    char *const networks[] = {(char *)text, NULL};
    const struct access_options o = {.networks = networks};
    const struct visitor v = {.address = (const struct sockaddr *)(const void *)&from};
    int64_t at_ms = 0;
    struct access_memory *m = access_memory_new();
    struct access *a = access_load(&o, &e);
    must(a || e.kind == ERR_USAGE);
    if (a && access_check(a, m, &v, 0, &at_ms, &e) < 0)
        must(e.kind == ERR_DENIED);
    access_free(a);
    access_memory_free(m);
}

/* Who is let in said so in the one way that is right, and is let in again. */
static void check_visitor(const char *header)
{
    static struct access *a;
    struct error e = {0};
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct visitor v = {.address = (const struct sockaddr *)(const void *)&from,
                        .authorization = header};
    int64_t at_ms = 0;
    struct access_memory *m = access_memory_new();
    if (!a) {
        const struct access_options o = {.users = fuzz_file(USER, sizeof USER - 1)};
        must((a = access_load(&o, &e)));
    }
    int verdict = access_check(a, m, &v, 0, &at_ms, &e);
    if (verdict == 0)
        must(strncasecmp(header, "basic ", 6) == 0 && strstr(header, RIGHT));
    else
        must(verdict == -1 && e.kind == ERR_UNAUTHORIZED);
    must(access_check(a, m, &v, 0, &at_ms, &e) == verdict);
    access_memory_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    autofree char *text = slice_dup((struct slice){(const char *)data, size});
    check_users(data, size);
    if (text[0])
        check_network(text);
    check_visitor(text);
    return 0;
}
