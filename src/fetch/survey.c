/* SPDX-License-Identifier: Apache-2.0
 * Reads health, changes nothing, dials nothing. */
#include "fetch/survey.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "fetch/authorize.h"
#include "fetch/fetcher.h"
#include "fetch/race.h"
#include "upstream/upstream.h"

struct surveying {
    struct call call; /* first */
    const struct upstreams *upstreams;
    struct upstream *only;
    struct fetcher *fetcher;
    bool is_content;
    char *repository, *digest;
    void (*done)(void *cls, struct survey *s);
    void *cls;
};

const char *survey_state_name(enum survey_state state)
{
    static const char *const names[] = {"in", "suspect", "limited", "out"};
    return names[state];
}

enum survey_login survey_login_of(const struct source *s)
{
    return s->token                    ? SURVEY_TOKEN
           : s->username               ? SURVEY_PASSWORD
           : s->way.client_certificate ? SURVEY_CERTIFICATE
                                       : SURVEY_ANONYMOUS;
}

const char *survey_login_name(enum survey_login login)
{
    static const char *const names[] = {"anonymous", "password", "token", "certificate"};
    return names[login];
}

void survey_free(struct survey *s)
{
    for (size_t i = 0; s && i < s->count; i++)
        free(s->registries[i].sources);
    if (s)
        free(s->registries);
    free(s);
}

static int64_t left(int64_t until_ms, int64_t now_ms)
{
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

static void describe(const struct source *s, const struct surveying *y, int64_t now_ms,
                     struct survey_source *out)
{
    const struct health *h = &s->health;
    *out = (struct survey_source){.is_origin = h->is_origin,
                                  .login = survey_login_of(s),
                                  .token_ms = authorization_left_ms(y->fetcher, s, y->repository),
                                  .why = h->is_out ? health_failure_name(h->why) : "",
                                  .out_ms = h->is_out ? left(h->out_until_ms, now_ms) : 0,
                                  .limited_ms = left(h->limited_until_ms, now_ms),
                                  .connect_ms = h->connect_ms,
                                  .first_byte_ms = h->first_byte_ms,
                                  .bytes_per_s = h->bytes_per_s,
                                  .answered_ago_ms =
                                      h->answered_at_ms > 0 ? now_ms - h->answered_at_ms : -1,
                                  .failures = h->failures,
                                  .under_way = h->under_way,
                                  .rate_limit = h->rate_limit,
                                  .rate_remaining = h->rate_remaining,
                                  .reason = health_reason(h, y->repository, y->digest, now_ms)};
    out->state = h->is_out              ? SURVEY_OUT
                 : out->limited_ms > 0  ? SURVEY_LIMITED
                 : health_is_suspect(h) ? SURVEY_SUSPECT
                                        : SURVEY_IN;
    slice_copy(slice_of(s->url), out->url, sizeof out->url);
}

static void visit(const struct surveying *y, struct upstream *u, struct survey_registry *out)
{
    struct source *line[SOURCES_MAX];
    int64_t now_ms = clock_mono_ms();
    bool is_any = y->is_content || u->resolves_anywhere;
    const struct race_request q = {.upstream = u,
                                   .order = is_any ? RACE_ANY : RACE_ORIGIN_FIRST,
                                   .repository = y->repository,
                                   .digest = y->digest};
    slice_copy(slice_of(u->registry), out->name, sizeof out->name);
    out->source_count = u->source_count;
    out->sources = alloc_array(u->source_count, sizeof *out->sources);
    for (size_t i = 0; i < u->source_count; i++)
        describe(&u->sources[i], y, now_ms, &out->sources[i]);
    size_t count = race_line(&q, line);
    for (size_t i = 0; i < count; i++)
        out->sources[line[i] - u->sources].turn = (unsigned)i + 1;
}

static void run(struct call *c)
{
    struct surveying *y = (struct surveying *)c;
    struct survey *s = alloc_zero(sizeof *s);
    struct upstream *u = y->only;
    for (size_t i = 0; y->only ? i < 1 : (u = upstreams_at(y->upstreams, i)) != NULL; i++) {
        s->registries = alloc_grow(s->registries, s->count + 1, sizeof *s->registries);
        s->registries[s->count] = (struct survey_registry){0};
        visit(y, u, &s->registries[s->count++]);
    }
    y->done(y->cls, s);
    free(y->repository);
    free(y->digest);
    free(y);
}

bool survey_take(struct fetcher *f, const struct survey_request *r,
                 void (*done)(void *cls, struct survey *s), void *cls)
{
    struct surveying *y = alloc_zero(sizeof *y);
    y->call.run = run;
    y->fetcher = f;
    y->upstreams = r->upstreams;
    y->is_content = r->is_content;
    y->only = r->only;
    y->repository = alloc_string(r->repository ? r->repository : "");
    y->digest = r->digest ? alloc_string(r->digest) : NULL;
    y->done = done;
    y->cls = cls;
    if (fetcher_post(f, &y->call))
        return true;
    free(y->repository);
    free(y->digest);
    free(y);
    return false;
}
