/* SPDX-License-Identifier: Apache-2.0
 * The table of upstreams from a configuration. What a secret file holds is seen here and by
 * upstreams_add, and said to nobody. */
#include "app/world.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/config.h"
#include "app/helper.h"
#include "app/mistakes.h"
#include "app/registry.h"
#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "upstream/credentials.h"
#include "upstream/upstream.h"

enum { SECRET_MAX_BYTES = 64 << 10, DOCKER_CONFIG_MAX_BYTES = 1 << 20, KEY_MAX_BYTES = 400 };

struct building {
    const struct config *config;
    struct mistakes *mistakes;
    bool reads_secrets;
};

static void wrong(struct building *b, unsigned line, const char *key, const char *what)
{
    if (line > 0)
        mistakes_add(b->mistakes, "%s:%u: %s: %s", b->config->path, line, key, what);
    else
        mistakes_add(b->mistakes, "%s: %s", key, what);
}

static void warn_if_open(const char *name)
{
    struct stat st;
    if (stat(name, &st) == 0 && (st.st_mode & S_IROTH))
        log_event(LOG_LEVEL_WARNING, "everybody on this machine can read a secret",
                  LOG_S("file", name), LOG_END);
}

/* Its first line. Owned; NULL: none is wanted, or it cannot be had. */
static char *read_secret(struct building *b, const char *name, unsigned line, const char *key)
{
    autofree char *bytes = NULL;
    size_t length = 0;
    struct error e = {0};
    if (!name[0] || !b->reads_secrets)
        return NULL;
    int found = file_read(AT_FDCWD, name, SECRET_MAX_BYTES, &bytes, &length, &e);
    if (found == 0)
        error_set(&e, ERR_USAGE, "there is no %s", name);
    if (found <= 0) {
        wrong(b, line, key, e.text);
        return NULL;
    }
    warn_if_open(name);
    bytes[strcspn(bytes, "\r\n")] = 0;
    return take(bytes);
}

/* The origin's, by whichever of the ways is configured. */
static void find_credentials(struct building *b, const struct registry *r, struct credentials *out)
{
    char key[KEY_MAX_BYTES];
    struct error e = {0};
    const struct option_mark *mark = &r->docker_config_mark;
    const char *name = "docker_config";
    int found = 1;
    *out = (struct credentials){0};
    snprintf(key, sizeof key, "registries.%s.password_file", r->name);
    if (r->username[0]) {
        out->username = alloc_string(r->username);
        out->password = read_secret(b, r->password_file, r->password_file_mark.line, key);
        return;
    }
    if (r->token_file[0]) {
        snprintf(key, sizeof key, "registries.%s.token_file", r->name);
        out->token = read_secret(b, r->token_file, r->token_file_mark.line, key);
        return;
    }
    if (!b->reads_secrets)
        return;
    if (r->credential_helper[0]) {
        mark = &r->credential_helper_mark;
        name = "credential_helper";
        out->helper = alloc_string(r->credential_helper);
    } else if (r->docker_config[0]) {
        autofree char *bytes = NULL;
        size_t length = 0;
        if (file_read(AT_FDCWD, r->docker_config, DOCKER_CONFIG_MAX_BYTES, &bytes, &length, &e) <=
            0)
            found = -1;
        else
            found = credentials_from_docker(bytes, length, r->name, out, &e);
        warn_if_open(r->docker_config);
    }
    if (found > 0 && out->helper) {
        autofree char *helper = take(out->helper);
        found = helper_ask(helper, credentials_server(r->name), out, &e);
    }
    snprintf(key, sizeof key, "registries.%s.%s", r->name, name);
    if (found < 0)
        wrong(b, mark->line, key, e.text);
    else if (found == 0 && !out->username)
        log_event(LOG_LEVEL_WARNING, "docker's configuration has no login for a registry",
                  LOG_S("registry", r->name), LOG_S("file", r->docker_config), LOG_END);
}

static void add_registry(struct building *b, struct upstreams *u, const struct registry *r)
{
    char made_up[300], key[KEY_MAX_BYTES];
    size_t count = r->mirrors.count;
    struct error e = {0};
    autofree const char **urls = alloc_array(count + 1, sizeof *urls);
    struct source_credential *credentials = alloc_array(count + 1, sizeof *credentials);
    for (size_t i = 0; i < count; i++) {
        const struct mirror_place *m = &r->mirrors.all[i];
        urls[i] = m->url;
        if (!m->username[0])
            continue;
        snprintf(key, sizeof key, "registries.%s.mirrors[%zu].password_file", r->name, i);
        credentials[i].username = m->username;
        credentials[i].password = read_secret(b, m->password_file, m->password_file_mark.line, key);
    }
    struct credentials own;
    find_credentials(b, r, &own);
    if (b->reads_secrets && r->client_key[0])
        warn_if_open(r->client_key);
    const struct upstream_options o = {.registry = r->name,
                                       .origin = registry_origin(r, made_up, sizeof made_up),
                                       .mirrors = (char *const *)urls,
                                       .mirror_credentials = credentials,
                                       .username = own.username,
                                       .password = own.password,
                                       .token = own.token,
                                       .way = {.proxy = r->proxy,
                                               .ca_file = r->ca_file,
                                               .client_certificate = r->client_certificate,
                                               .client_key = r->client_key},
                                       .resolves_anywhere = strcmp(r->resolve, "any") == 0,
                                       .is_accelerated = strcmp(r->accelerate, "yes") == 0,
                                       .is_prefetched = strcmp(r->prefetch, "yes") == 0,
                                       .tag_ttl_ms = r->tag_ttl_ms,
                                       .hosts = r->hosts,
                                       .allow = r->allow,
                                       .deny = r->deny,
                                       .immutable_tags = r->immutable_tags,
                                       .realms = r->realms,
                                       .allows_private = strcmp(r->private_redirects, "yes") == 0};
    snprintf(key, sizeof key, "registries.%s", r->name);
    if (upstreams_add(u, &o, &e) < 0)
        wrong(b, r->line, key, e.text);
    credentials_fini(&own);
    for (size_t i = 0; i < count; i++)
        free((char *)credentials[i].password);
    free(credentials);
}

struct upstreams *world_build(const struct config *c, bool reads_secrets, struct mistakes *m)
{
    size_t before = m->count;
    struct building b = {c, m, false};
    if (reads_secrets) {
        config_note_files(c, m);
        b.reads_secrets = m->count == before; /* otherwise only what else is wrong is looked for */
    }
    struct upstreams *u = upstreams_new();
    for (size_t i = 0; i < c->registry_count; i++)
        add_registry(&b, u, c->registries[i]);
    if (m->count == before && upstreams_choose_default(u, c->default_registry))
        return u;
    if (m->count == before)
        wrong(&b, 0, "default_registry", "it is none of the registries");
    upstreams_free(u);
    return NULL;
}
