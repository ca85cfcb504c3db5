/* SPDX-License-Identifier: Apache-2.0
 * Grammar by hand: it is small, and regular expressions would be slower and no clearer. */
#include "oci/reference.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool is_component(const char *at, size_t length)
{
    size_t i = 0;
    for (;;) {
        size_t begin = i;
        while (i < length && is_word(at[i]))
            i++;
        if (i == begin)
            return false;
        if (i == length)
            return true;
        if (at[i] == '.')
            i++;
        else if (at[i] == '_')
            i += i + 1 < length && at[i + 1] == '_' ? 2 : 1;
        else if (at[i] == '-')
            while (i < length && at[i] == '-')
                i++;
        else
            return false;
    }
}

bool reference_is_repository(struct slice name)
{
    struct slice head, rest = name;
    if (name.length == 0 || name.length > REPOSITORY_MAX)
        return false;
    while (slice_cut(rest, '/', &head, &rest))
        if (!is_component(head.at, head.length))
            return false;
    return is_component(rest.at, rest.length);
}

bool reference_is_tag(struct slice tag)
{
    if (tag.length == 0 || tag.length > TAG_MAX)
        return false;
    for (size_t i = 0; i < tag.length; i++) {
        char c = tag.at[i];
        bool is_first_fine = is_word(c) || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_first_fine && (i == 0 || (c != '.' && c != '-')))
            return false;
    }
    return true;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Five digits at most and no 0 before them, so that one port has one spelling. */
static bool is_port(struct slice port)
{
    uint64_t number;
    return slice_u64(port, 65535, &number) && number > 0 && port.at[0] != '0';
}

static bool is_ipv6(struct slice address)
{
    bool has_colon = false;
    for (size_t i = 0; i < address.length; i++) {
        char c = lower(address.at[i]);
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f') && c != ':' && c != '.')
            return false;
        has_colon = has_colon || c == ':';
    }
    return has_colon;
}

static bool is_label(struct slice label)
{
    for (size_t i = 0; i < label.length; i++)
        if (!is_word(lower(label.at[i])) && label.at[i] != '-')
            return false;
    return label.length > 0 && label.at[0] != '-' && label.at[label.length - 1] != '-';
}

static bool is_host(struct slice host)
{
    struct slice name = host, port, label;
    if (slice_starts(host, "[")) {
        if (!slice_cut(host, ']', &name, &port) || !is_ipv6(slice_sub(name, 1, name.length)))
            return false;
        return port.length == 0 || (port.at[0] == ':' && is_port(slice_sub(port, 1, port.length)));
    }
    if (slice_cut_last(host, ':', &name, &port) && !is_port(port))
        return false;
    while (slice_cut(name, '.', &label, &name))
        if (!is_label(label))
            return false;
    return is_label(name);
}

bool reference_registry(struct slice host, char *out, size_t out_bytes)
{
    static const char *const aliases[] = {"docker.io", "index.docker.io", "registry-1.docker.io"};
    if (!is_host(host))
        return false;
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (slice_equals_nocase(host, aliases[i]))
            return slice_copy(slice_of("docker.io"), out, out_bytes);
    if (!slice_copy(host, out, out_bytes))
        return false;
    for (char *c = out; *c; c++)
        *c = lower(*c);
    return true;
}

bool reference_names_registry(struct slice first)
{
    return memchr(first.at, '.', first.length) || memchr(first.at, ':', first.length) ||
           slice_equals(first, "localhost");
}

bool reference_is_digest(struct slice text, struct digest *out)
{
    bool has_at = text.length > 0 && text.at[0] == '@';
    return digest_parse((struct slice){text.at + has_at, text.length - has_at}, out) == 1;
}

int reference_parse(struct slice text, struct reference *out, struct error *e)
{
    struct reference r;
    struct slice rest = text, head, tail;
    int shown = (int)(text.length < 200 ? text.length : 200);
    memset(&r, 0, sizeof r);
    if (reference_is_digest(text, &r.digest)) /* by the letter, a tag of library/sha256 */
        return error_set(e, ERR_NAME_INVALID, "\"%.*s\" is a digest without the name of an image",
                         shown, text.at);
    slice_copy(slice_of("docker.io"), r.registry, sizeof r.registry);
    if (slice_cut(rest, '@', &head, &tail)) {
        int found = digest_parse(tail, &r.digest);
        if (found != 1)
            return error_set(e, ERR_DIGEST_INVALID, "\"%.*s\": %s", shown, text.at,
                             found < 0 ? "the digest is malformed"
                                       : "digests of that algorithm cannot be verified");
        rest = head;
    }
    if (slice_cut(rest, '/', &head, &tail) && reference_names_registry(head)) {
        if (!reference_registry(head, r.registry, sizeof r.registry))
            return error_set(e, ERR_NAME_INVALID, "\"%.*s\": the registry's name is malformed",
                             shown, text.at);
        rest = tail;
    }
    if (slice_cut_last(rest, ':', &head, &tail)) {
        if (!reference_is_tag(tail))
            return error_set(e, ERR_TAG_INVALID, "\"%.*s\": the tag is malformed", shown, text.at);
        slice_copy(tail, r.tag, sizeof r.tag);
        rest = head;
    } else if (!r.digest.algorithm) {
        slice_copy(slice_of("latest"), r.tag, sizeof r.tag);
    }
    bool is_short = strcmp(r.registry, "docker.io") == 0 && !slice_cut(rest, '/', &head, &tail);
    if (!reference_is_repository(rest) ||
        snprintf(r.repository, sizeof r.repository, "%s%.*s", is_short ? "library/" : "",
                 (int)rest.length, rest.at) >= (int)sizeof r.repository)
        return error_set(e, ERR_NAME_INVALID, "\"%.*s\" is no image name", shown, text.at);
    *out = r;
    return 0;
}

void reference_print(const struct reference *r, struct str *out)
{
    char digest[DIGEST_TEXT_MAX];
    if (r->digest.algorithm)
        str_format(out, "%s/%s@%s", r->registry, r->repository, digest_print(&r->digest, digest));
    else
        str_format(out, "%s/%s:%s", r->registry, r->repository, r->tag);
}

void reference_fallback_tag(const struct digest *subject, char out[TAG_MAX + 1])
{
    char hex[DIGEST_HEX_MAX];
    digest_hex(subject, hex);
    snprintf(out, TAG_MAX + 1, "%.32s-%.64s", digest_algorithm_name(subject), hex);
}
