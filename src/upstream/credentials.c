/* SPDX-License-Identifier: Apache-2.0
 * The two forms of docker's credentials. Tokens that stand in the place of a password ("identity
 * tokens") need another exchange with the token service and are refused by name. */
#include "upstream/credentials.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "oci/reference.h"

void credentials_fini(struct credentials *c)
{
    free(c->token);
    free(c->username);
    free(c->password);
    free(c->helper);
    memset(c, 0, sizeof *c);
}

const char *credentials_server(const char *registry)
{
    return strcmp(registry, "docker.io") == 0 ? "https://index.docker.io/v1/" : registry;
}

/* Owned, 0-terminated; NULL: not base64, or with a 0 inside. */
static char *decode(const char *text)
{
    size_t room = strlen(text) / 4 * 3 + 1, length = 0;
    autofree char *out = alloc_zero(room);
    bool is_text = str_base64_decode(slice_of(text), out, room, &length) && !memchr(out, 0, length);
    return is_text ? take(out) : NULL;
}

/* "https://index.docker.io/v1/", "ghcr.io", "https://quay.io": the registry meant. */
static bool means(const char *key, const char *registry)
{
    struct slice host = slice_of(key), rest;
    char name[256];
    if (slice_starts(host, "https://"))
        host = slice_sub(host, 8, host.length);
    else if (slice_starts(host, "http://"))
        host = slice_sub(host, 7, host.length);
    if (slice_cut(host, '/', &host, &rest) && rest.length > 0 && !slice_starts(rest, "v1") &&
        !slice_starts(rest, "v2"))
        return false; /* of one of its repositories only */
    return reference_registry(host, name, sizeof name) && strcmp(name, registry) == 0;
}

struct lookup {
    const char *registry;
    const struct json_t *found;
};

static bool look(const char *key, struct json_t *value, void *cls)
{
    struct lookup *l = cls;
    if (means(key, l->registry))
        l->found = value;
    return !l->found;
}

static const struct json_t *entry(const struct json_t *document, const char *list,
                                  const char *registry)
{
    struct lookup l = {.registry = registry};
    const struct json_t *object = json_get_object(document, list);
    if (object)
        json_each(object, look, &l);
    return l.found;
}

static int take_pair(const struct json_t *from, struct credentials *out, struct error *e)
{
    const char *auth = json_get_string(from, "auth"), *user = json_get_string(from, "username"),
               *password = json_get_string(from, "password"),
               *identity = json_get_string(from, "identitytoken");
    struct slice name, secret;
    if (identity && identity[0])
        return error_set(e, ERR_USAGE,
                         "it holds an identity token, which is not supported; log in with a "
                         "password or an access token");
    autofree char *pair = auth && auth[0] ? decode(auth) : NULL;
    if (pair && slice_cut(slice_of(pair), ':', &name, &secret) && name.length > 0) {
        out->username = slice_dup(name);
        out->password = slice_dup(secret);
        return 1;
    }
    if (auth && auth[0])
        return error_set(e, ERR_USAGE, "its \"auth\" is not base64 of USER:PASSWORD");
    if (!user || !user[0] || !password)
        return 0;
    out->username = alloc_string(user);
    out->password = alloc_string(password);
    return 1;
}

int credentials_from_docker(const char *bytes, size_t length, const char *registry,
                            struct credentials *out, struct error *e)
{
    unsigned line;
    autojson struct json_t *document = json_parse_loose(bytes, length, &line, NULL);
    *out = (struct credentials){0};
    if (!json_is_object(document))
        return error_set(e, ERR_USAGE, "it is not a JSON object");
    const struct json_t *own = entry(document, "auths", registry);
    const char *helper = json_text(entry(document, "credHelpers", registry)),
               *store = json_get_string(document, "credsStore");
    if (helper && helper[0]) {
        out->helper = alloc_string(helper);
        return 1;
    }
    int found = own ? take_pair(own, out, e) : 0;
    if (found == 0 && own && store && store[0]) { /* logged in, and kept elsewhere */
        out->helper = alloc_string(store);
        return 1;
    }
    return found;
}

int credentials_from_helper(const char *bytes, size_t length, struct credentials *out,
                            struct error *e)
{
    unsigned line;
    autojson struct json_t *document = json_parse_loose(bytes, length, &line, NULL);
    const char *user = json_get_string(document, "Username"),
               *secret = json_get_string(document, "Secret");
    *out = (struct credentials){0};
    if (!user || !secret || !user[0])
        return error_set(e, ERR_USAGE, "its answer has no \"Username\" and \"Secret\"");
    if (strcmp(user, "<token>") == 0)
        return error_set(e, ERR_USAGE, "it gave an identity token, which is not supported");
    out->username = alloc_string(user);
    out->password = alloc_string(secret);
    return 0;
}
