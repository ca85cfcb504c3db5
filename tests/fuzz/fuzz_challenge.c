/* SPDX-License-Identifier: Apache-2.0
 * Lines of bytes as so many WWW-Authenticate headers of one answer. */
#include <string.h>

#include "base/str.h"
#include "fuzz.h"
#include "oci/challenge.h"

static void check_text(const char *text, size_t room)
{
    size_t length = strnlen(text, room);
    must(length < room);
    for (size_t i = 0; i < length; i++)
        must((unsigned char)text[i] >= ' ' && text[i] != 0x7F);
}

static void quote(struct str *out, const char *key, const char *text)
{
    str_format(out, "%s=\"", key);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            str_add_char(out, '\\');
        str_add_char(out, *text);
    }
    str_add(out, "\", ");
}

/* Written out again, the same challenge is read, though another scheme stands on both its sides. */
static void check_round_trip(const struct challenge *c)
{
    autostr struct str text = {0};
    struct challenge again = {0};
    str_add(&text, "Digest realm=\"other\", ");
    str_add(&text, c->scheme == CHALLENGE_BEARER ? "Bearer " : "Basic ");
    quote(&text, "realm", c->realm);
    quote(&text, "service", c->service);
    quote(&text, "scope", c->scope);
    quote(&text, "error", c->error);
    str_add(&text, "Negotiate a/b==");
    challenge_read(slice_of(str_text(&text)), &again);
    must(c->scheme == again.scheme);
    must(strcmp(c->realm, again.realm) == 0 && strcmp(c->service, again.service) == 0);
    must(strcmp(c->scope, again.scope) == 0 && strcmp(c->error, again.error) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct challenge best = {0};
    struct slice line, rest = {(const char *)data, size};
    for (bool more = true; more;) {
        enum challenge_scheme before = best.scheme;
        more = slice_cut(rest, '\n', &line, &rest);
        challenge_read(more ? line : rest, &best);
        must(best.scheme >= before);
    }
    must(best.scheme != CHALLENGE_BEARER || best.realm[0]);
    check_text(best.realm, sizeof(best.realm));
    check_text(best.service, sizeof(best.service));
    check_text(best.scope, sizeof(best.scope));
    check_text(best.error, sizeof(best.error));
    if (best.scheme != CHALLENGE_NONE)
        check_round_trip(&best);
    if (challenge_scope_names(best.scope, "library/alpine"))
        must(strncmp(best.scope, "repository", 10) == 0 && strstr(best.scope, ":library/alpine:"));
    return 0;
}
