/* SPDX-License-Identifier: Apache-2.0
 * A challenge begins where a word is followed by no "=": parameters belong to the scheme before
 * them. */
#include "oci/challenge.h"

#include <string.h>

struct cursor {
    const char *at, *end;
};

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_any(char c, const char *these)
{
    return c && strchr(these, c);
}

static void skip(struct cursor *c, const char *these)
{
    while (c->at < c->end && is_any(*c->at, these))
        c->at++;
}

/* Letters, digits and marks. */
static struct slice run(struct cursor *c, const char *marks)
{
    const char *begin = c->at;
    while (c->at < c->end && (is_word(*c->at) || is_any(*c->at, marks)))
        c->at++;
    return (struct slice){begin, (size_t)(c->at - begin)};
}

/* The token68 of RFC 9110 §11.2, which schemes like Negotiate have in place of parameters. */
static void skip_token68(struct cursor *c)
{
    struct cursor look = *c;
    if (run(&look, "-._~+/").length == 0)
        return;
    skip(&look, "=");
    skip(&look, " \t");
    if (look.at == look.end || *look.at == ',')
        *c = look;
}

/* A quoted string or anything up to a blank or comma (URLs unquoted too) into out. Always passes
 * the whole value, so that its inside is never read as a challenge; false if it does not fit, never
 * ends or holds a control character. */
static bool value(struct cursor *c, char *out, size_t room)
{
    size_t n = 0;
    bool is_quoted = c->at < c->end && *c->at == '"';
    bool is_whole = !is_quoted, is_fit = true;
    if (is_quoted)
        c->at++;
    for (; c->at < c->end; c->at++) {
        char x = *c->at;
        if (is_quoted && x == '"') {
            c->at++;
            is_whole = true;
            break;
        }
        if (!is_quoted && is_any(x, ", \t"))
            break;
        if (is_quoted && x == '\\' && c->at + 1 < c->end)
            x = *++c->at;
        if (n + 1 >= room || (unsigned char)x < ' ' || x == 0x7F)
            is_fit = false;
        else
            out[n++] = x;
    }
    out[n] = '\0';
    return is_whole && is_fit;
}

static void keep_better(const struct challenge *found, bool is_usable, struct challenge *best)
{
    if (!is_usable || found->scheme <= best->scheme)
        return;
    if (found->scheme == CHALLENGE_BEARER && !found->realm[0])
        return;
    *best = *found;
}

/* false if it makes the challenge unusable; parameters that nobody asks for never do. */
static bool parameter(struct cursor *c, struct slice key, struct challenge *found)
{
    char ignored[1];
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
    value(c, ignored, sizeof ignored);
    return true;
}

void challenge_read(struct slice header, struct challenge *best)
{
    if (header.length == 0)
        return; /* at may be NULL, which nothing can be added to */
    struct cursor c = {header.at, header.at + header.length};
    struct challenge found = {0};
    bool is_usable = false;
    for (;;) {
        skip(&c, " \t,");
        if (c.at == c.end)
            break;
        struct slice word = run(&c, "!#$%&'*+-.^_`|~");
        if (word.length == 0) {
            char ignored[1];
            c.at += *c.at != '"';
            value(&c, ignored, sizeof ignored); /* what belongs nowhere */
            continue;
        }
        skip(&c, " \t");
        if (c.at < c.end && *c.at == '=') {
            c.at++;
            skip(&c, " \t");
            is_usable = parameter(&c, word, &found) && is_usable;
            continue;
        }
        keep_better(&found, is_usable, best);
        memset(&found, 0, sizeof found);
        found.scheme = slice_equals_nocase(word, "bearer")  ? CHALLENGE_BEARER
                       : slice_equals_nocase(word, "basic") ? CHALLENGE_BASIC
                                                            : CHALLENGE_NONE;
        is_usable = found.scheme != CHALLENGE_NONE;
        skip_token68(&c);
    }
    keep_better(&found, is_usable, best);
}

bool challenge_scope_names(const char *scope, const char *repository)
{
    struct slice type, rest, name, actions, class;
    if (!slice_cut(slice_of(scope), ':', &type, &rest) ||
        !slice_cut_last(rest, ':', &name, &actions))
        return false;
    slice_cut(type, '(', &type, &class);
    return slice_equals(type, "repository") && slice_equals(name, repository);
}
