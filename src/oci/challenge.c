/* SPDX-License-Identifier: Apache-2.0
 * A challenge begins where a word is followed by no "=": parameters belong to the scheme before them. */
#include "oci/challenge.h"

#include <ctype.h>
#include <string.h>

struct cursor {
    const char *at, *end;
};

static bool is_token(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip(struct cursor *c, const char *these)
{
    while (c->at < c->end && strchr(these, *c->at) && *c->at)
        c->at++;
}

static struct slice token(struct cursor *c)
{
    const char *begin = c->at;
    while (c->at < c->end && is_token(*c->at))
        c->at++;
    return (struct slice){begin, (size_t)(c->at - begin)};
}

/* A quoted string or a token (base64 and URLs unquoted too) into out; false if it does not fit or never ends. */
static bool value(struct cursor *c, char *out, size_t room)
{
    size_t n = 0;
    bool is_quoted = c->at < c->end && *c->at == '"';
    if (is_quoted)
        c->at++;
    for (; c->at < c->end; c->at++) {
        char x = *c->at;
        if (is_quoted && x == '"') {
            c->at++;
            out[n] = 0;
            return true;
        }
        if (!is_quoted && (x == ',' || x == ' ' || x == '\t'))
            break;
        if (is_quoted && x == '\\' && c->at + 1 < c->end)
            x = *++c->at;
        if (n + 1 >= room || (unsigned char)x < ' ')
            return false;
        out[n++] = x;
    }
    out[n] = 0;
    return !is_quoted;
}

static void keep_better(const struct challenge *found, bool is_usable, struct challenge *best)
{
    if (!is_usable || found->scheme <= best->scheme)
        return;
    if (found->scheme == CHALLENGE_BEARER && !found->realm[0])
        return;
    *best = *found;
}

static bool parameter(struct cursor *c, struct slice key, struct challenge *found)
{
    char rest[2048];
    const struct {
        const char *key;
        char *out;
        size_t room;
    } known[] = {{"realm", found->realm, sizeof found->realm},
                 {"service", found->service, sizeof found->service},
                 {"scope", found->scope, sizeof found->scope},
                 {"error", found->error, sizeof found->error}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (slice_equals_nocase(key, known[i].key))
            return value(c, known[i].out, known[i].room);
    return value(c, rest, sizeof rest);
}

void challenge_read(struct slice header, struct challenge *best)
{
    struct cursor c = {header.at, header.at + header.length};
    struct challenge found;
    bool is_usable = false;
    memset(&found, 0, sizeof found);
    while (c.at < c.end) {
        skip(&c, " \t,");
        struct slice word = token(&c);
        if (word.length == 0)
            break;
        skip(&c, " \t");
        if (c.at < c.end && *c.at == '=') {
            c.at++;
            skip(&c, " \t");
            if (!parameter(&c, word, &found))
                is_usable = false;
            continue;
        }
        keep_better(&found, is_usable, best);
        memset(&found, 0, sizeof found);
        found.scheme = slice_equals_nocase(word, "bearer")  ? CHALLENGE_BEARER
                       : slice_equals_nocase(word, "basic") ? CHALLENGE_BASIC
                                                            : CHALLENGE_NONE;
        is_usable = found.scheme != CHALLENGE_NONE;
    }
    keep_better(&found, is_usable, best);
}

bool challenge_scope_names(const char *scope, const char *repository)
{
    struct slice type, rest, name, actions, class;
    if (!slice_cut(slice_of(scope), ':', &type, &rest) || !slice_cut_last(rest, ':', &name, &actions))
        return false;
    slice_cut(type, '(', &type, &class);
    return slice_equals(type, "repository") && slice_equals(name, repository);
}
