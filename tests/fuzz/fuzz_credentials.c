/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as docker's config.json, and as what a credential helper says. */
#include <string.h>

#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"
#include "fuzz.h"
#include "upstream/credentials.h"
#include "upstream/token.h"

/* A pair as it is sent: a user of its own, then the password. */
static void check_pair(const struct credentials *c)
{
    must(c->username && c->username[0] && c->password && !c->helper);
    char decoded[8192];
    size_t length = 0;
    autofree char *basic = token_basic(c->username, c->password);
    must(strncmp(basic, "Basic ", 6) == 0);
    if (strlen(c->username) + strlen(c->password) + 2 > sizeof decoded)
        return;
    must(str_base64_decode(slice_of(basic + 6), decoded, sizeof decoded, &length));
    must(length == strlen(c->username) + 1 + strlen(c->password));
    must(slice_starts((struct slice){decoded, length}, c->username));
    must(slice_ends((struct slice){decoded, length}, c->password));
}

static void check_docker(const char *bytes, size_t size, const char *registry)
{
    struct credentials c;
    struct error e = {0};
    int found = credentials_from_docker(bytes, size, registry, &c, &e);
    must(found == 1 || (!c.username && !c.password && !c.helper && !c.token));
    must(found != -1 || (e.kind == ERR_USAGE && e.text[0]));
    if (found == 1 && c.helper)
        must(c.helper[0] && !c.username && !c.password);
    else if (found == 1)
        check_pair(&c);
    credentials_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct credentials c;
    struct error e = {0};
    const char *bytes = size ? (const char *)data : "";
    check_docker(bytes, size, "docker.io");
    check_docker(bytes, size, "ghcr.io");
    if (credentials_from_helper(bytes, size, &c, &e) == 0)
        check_pair(&c);
    else
        must(e.kind == ERR_USAGE && !c.username && !c.password);
    credentials_fini(&c);
    return 0;
}
