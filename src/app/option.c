/* SPDX-License-Identifier: Apache-2.0
 * What an option's value may be. Knows types and checks, not what any option is for. */
#include "app/option.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "oci/reference.h"
#include "upstream/upstream.h"

enum { NAME_MAX_BYTES = 64 };

void option_list_free(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

void option_list_add(char ***list, const char *value)
{
    size_t count = 0;
    while (*list && (*list)[count])
        count++;
    *list = alloc_grow(*list, count + 2, sizeof **list);
    (*list)[count] = value ? alloc_string(value) : NULL;
    (*list)[count + 1] = NULL;
}

/* --- what a text may be, by its metavar ------------------------------------------------------- */

static int check_url(const char *value, struct error *e)
{
    struct url_origin origin;
    if (strchr(value, '@'))
        return error_set(e, ERR_USAGE,
                         "an upstream URL names no user; there are keys for it, and for the file "
                         "of its password");
    if (!upstream_url_origin(value, &origin) || strpbrk(value, "?# \t\r\n"))
        return error_set(e, ERR_USAGE,
                         "\"%.200s\" is no upstream URL: http(s)://HOST[:PORT][/PATH]", value);
    return 0;
}

static int check_proxy(const char *value, struct error *e)
{
    static const char *const schemes[] = {"http://",    "https://",  "socks4://",
                                          "socks4a://", "socks5://", "socks5h://"};
    struct url_origin origin;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (slice_starts(slice_of(value), schemes[i])) {
            autofree char *as_http = alloc_format("http://%s", value + strlen(schemes[i]));
            if (!upstream_url_origin(as_http, &origin) || strpbrk(value, "?#@ \t\r\n"))
                break;
            return 0;
        }
    return error_set(e, ERR_USAGE,
                     "not the URL of a proxy: SCHEME://HOST:PORT with the scheme http, https, "
                     "socks4, socks4a, socks5 or socks5h");
}

/* fnmatch takes a pattern that it cannot read for plain text, which would allow or deny nothing. */
static int check_glob(const char *value, struct error *e)
{
    for (const char *c = value; *c; c++) {
        if ((unsigned char)*c <= ' ')
            return error_set(e, ERR_USAGE, "a glob holds no blanks");
        if (*c == '\\') {
            if (!*++c)
                return error_set(e, ERR_USAGE, "the glob \"%.200s\" ends in a backslash", value);
        } else if (*c == '[') {
            size_t member = c[1] == '!' || c[1] == '^' ? 2 : 1; /* a ] right here is one, too */
            c = c[member] ? strchr(c + member + 1, ']') : NULL;
            if (!c)
                return error_set(e, ERR_USAGE, "the glob \"%.200s\" has a [ without its ]", value);
        }
    }
    return value[0] ? 0 : error_set(e, ERR_USAGE, "an empty glob matches nothing");
}

static int check_host(const char *value, struct error *e)
{
    char name[256];
    return reference_registry(slice_of(value), name, sizeof name)
               ? 0
               : error_set(e, ERR_USAGE, "\"%.200s\" is no host name", value);
}

static int check_address(const char *value, struct error *e)
{
    struct slice host, port;
    uint64_t number;
    if (!slice_cut_last(slice_of(value), ':', &host, &port) || !slice_u64(port, 65535, &number) ||
        strpbrk(value, " \t\r\n"))
        return error_set(e, ERR_USAGE, "\"%.200s\" is no address: ADDR:PORT, [ADDR]:PORT or :PORT",
                         value);
    return 0;
}

static int check_network(const char *value, struct error *e)
{
    struct slice address = slice_of(value), bits = {0};
    unsigned char bytes[16];
    char text[64];
    uint64_t number;
    bool has_bits = slice_cut(address, '/', &address, &bits);
    bool is_v6 = memchr(address.at, ':', address.length) != NULL;
    if (!slice_copy(address, text, sizeof text) ||
        inet_pton(is_v6 ? AF_INET6 : AF_INET, text, bytes) != 1 ||
        (has_bits && !slice_u64(bits, is_v6 ? 128 : 32, &number)))
        return error_set(e, ERR_USAGE,
                         "\"%.100s\" is no network: ADDRESS or ADDRESS/BITS, such as 10.0.0.0/8",
                         value);
    return 0;
}

/* It becomes a part of a program's name. */
static int check_helper(const char *value, struct error *e)
{
    for (const char *c = value; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
            return error_set(e, ERR_USAGE,
                             "a credential helper is named by letters, digits, ._- and without "
                             "docker-credential-");
    return 0;
}

bool option_share(const char *value, int64_t *bytes, int64_t *percent)
{
    uint64_t number = 0;
    struct slice whole = slice_of(value);
    bool is_share = slice_ends(whole, "%");
    if (is_share)
        whole.length--;
    if (is_share ? !slice_u64(whole, 100, &number)
                 : !str_parse_size(value, &number) || number > INT64_MAX)
        return false;
    *bytes = is_share ? 0 : (int64_t)number;
    *percent = is_share ? (int64_t)number : 0;
    return true;
}

static int check_share(const char *value, struct error *e)
{
    int64_t bytes, percent;
    return option_share(value, &bytes, &percent)
               ? 0
               : error_set(e, ERR_USAGE,
                           "\"%.80s\" is no size (such as 10GiB) and no share of the "
                           "disk (0%% to 100%%)",
                           value);
}

static int check_file(const char *value, struct error *e)
{
    return value[0] ? 0 : error_set(e, ERR_USAGE, "the name is empty");
}

int option_check(const char *metavar, const char *value, struct error *e)
{
    static const struct {
        const char *metavar;
        int (*check)(const char *value, struct error *e);
    } checks[] = {
        {"URL", check_url},       {"PROXY", check_proxy},     {"GLOB", check_glob},
        {"HOST", check_host},     {"REGISTRY", check_host},   {"ADDR:PORT", check_address},
        {"HELPER", check_helper}, {"NETWORK", check_network}, {"SIZE|PERCENT", check_share},
        {"DIR", check_file},      {"FILE", check_file}};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (strcmp(checks[i].metavar, metavar) == 0)
            return checks[i].check(value, e);
    return 0;
}

/* --- values ----------------------------------------------------------------------------------- */

static int out_of_bounds(const struct option *o, const char *value, struct error *e)
{
    return error_set(e, ERR_USAGE, "%.80s is out of bounds (%lld to %lld%s)", value,
                     (long long)o->least, (long long)o->most,
                     o->type == OPTION_DURATION ? " ms"
                     : o->type == OPTION_SIZE   ? " bytes"
                                                : "");
}

static int set_number(const struct option *o, int64_t *field, const char *value, struct error *e)
{
    uint64_t number = 0;
    int64_t found = 0;
    bool is_right = o->type == OPTION_DURATION ? str_parse_duration(value, &found)
                    : o->type == OPTION_SIZE   ? str_parse_size(value, &number)
                                               : slice_u64(slice_of(value), INT64_MAX, &number);
    if (o->type != OPTION_DURATION)
        found = number > INT64_MAX ? INT64_MAX : (int64_t)number;
    if (!is_right)
        return error_set(e, ERR_USAGE, "\"%.80s\" is no %s", value,
                         o->type == OPTION_DURATION ? "duration (such as 90s, 15m)"
                         : o->type == OPTION_SIZE   ? "size (such as 64KiB, 10GiB)"
                                                    : "number");
    if (found < o->least || found > o->most)
        return out_of_bounds(o, value, e);
    *field = found;
    return 0;
}

static int check_choice(const struct option *o, const char *value, struct error *e)
{
    struct slice rest = slice_of(o->metavar), word;
    autostr struct str words = {0};
    for (bool is_more = true; is_more;) {
        is_more = slice_cut(rest, '|', &word, &rest);
        if (!is_more)
            word = rest;
        if (slice_equals(word, value))
            return 0;
        str_format(&words, "%s%.*s", words.length ? ", " : "", (int)word.length, word.at);
    }
    return error_set(e, ERR_USAGE, "\"%.80s\" is none of %s", value, str_text(&words));
}

int option_set(const struct option *o, void *into, const char *value, bool is_first,
               struct error *e)
{
    void *field = (char *)into + o->offset;
    bool is_unset = !value[0] && !o->initial[0]; /* how a default of none is said again */
    switch (o->type) {
    case OPTION_LIST:
        if (!value[0])
            return error_set(e, ERR_USAGE, "the value is empty");
        if (option_check(o->metavar, value, e) < 0)
            return -1;
        if (is_first) {
            option_list_free(*(char ***)field);
            *(char ***)field = NULL;
        }
        option_list_add(field, value);
        return 0;
    case OPTION_CHOICE:
        if (check_choice(o, value, e) < 0)
            return -1;
        break;
    case OPTION_TEXT:
        if (!is_unset && option_check(o->metavar, value, e) < 0)
            return -1;
        break;
    case OPTION_MIRRORS:
        return 0;
    default:
        if (is_unset) {
            *(int64_t *)field = -1;
            return 0;
        }
        return set_number(o, field, value, e);
    }
    char *copy = alloc_string(value); /* value may be what is there */
    free(*(char **)field);
    *(char **)field = copy;
    return 0;
}

static int wrong_type(const struct option *o, struct error *e)
{
    static const char *const wants[] = {
        [OPTION_LIST] = "a list of texts, [\"...\"]",
        [OPTION_TEXT] = "a text, \"...\"",
        [OPTION_CHOICE] = "a text, one of ",
        [OPTION_DURATION] = "a duration as a text, such as \"90s\" or \"15m\"",
        [OPTION_NUMBER] = "a whole number",
        [OPTION_SIZE] = "a size as a text, such as \"64KiB\", or a number of bytes",
    };
    return error_set(e, ERR_USAGE, "wrong type: it must be %s%s", wants[o->type],
                     o->type == OPTION_CHOICE ? o->metavar : "");
}

static int set_list(const struct option *o, char ***field, const struct json_t *value, long *item,
                    struct error *e)
{
    if (!json_is_array(value))
        return wrong_type(o, e);
    for (size_t i = 0; i < json_count(value); i++) {
        const char *text = json_text(json_item(value, i));
        *item = (long)i;
        if (!text)
            return error_set(e, ERR_USAGE, "wrong type: it must be a text, \"...\"");
        if (option_check(o->metavar, text, e) < 0)
            return -1;
    }
    *item = -1;
    if (json_count(value) == 0) /* of what allows, some mean all by it and some mean nothing */
        return error_set(e, ERR_USAGE, "the list is empty: leave the key out");
    option_list_free(*field);
    *field = NULL;
    for (size_t i = 0; i < json_count(value); i++)
        option_list_add(field, json_text(json_item(value, i)));
    return 0;
}

int option_set_json(const struct option *o, void *into, const struct json_t *value, long *item,
                    struct error *e)
{
    int64_t number;
    const char *text = json_text(value);
    bool is_number = json_whole(value, &number);
    *item = -1;
    if (o->type == OPTION_LIST)
        return set_list(o, (char ***)((char *)into + o->offset), value, item, e);
    if (is_number && (o->type == OPTION_NUMBER || o->type == OPTION_SIZE)) {
        autofree char *shown = alloc_format("%lld", (long long)number);
        return number < 0 ? out_of_bounds(o, shown, e) : option_set(o, into, shown, true, e);
    }
    if (!text || o->type == OPTION_NUMBER)
        return wrong_type(o, e);
    return option_set(o, into, text, true, e);
}

void option_init(const struct option_table *t, void *into)
{
    struct error e = {0};
    for (size_t i = 0; i < t->count; i++) {
        const struct option *o = &t->rows[i];
        if (o->type == OPTION_LIST && !o->initial[0])
            option_list_add((char ***)((char *)into + o->offset), NULL);
        else if (option_set(o, into, o->initial, true, &e) < 0)
            abort(); /* a default that its own row refuses */
    }
}

void option_fini(const struct option_table *t, void *into)
{
    for (size_t i = 0; i < t->count; i++) {
        void *field = (char *)into + t->rows[i].offset;
        if (t->rows[i].type == OPTION_LIST)
            option_list_free(*(char ***)field);
        else if (t->rows[i].type == OPTION_TEXT || t->rows[i].type == OPTION_CHOICE)
            free(*(char **)field);
    }
}

struct option_mark *option_mark(const struct option *o, void *into)
{
    return (struct option_mark *)((char *)into + o->mark_offset);
}

bool option_is_same(const struct option *o, const void *a, const void *b)
{
    const void *x = (const char *)a + o->offset, *y = (const char *)b + o->offset;
    char *const *p, *const *q;
    switch (o->type) {
    case OPTION_LIST:
        for (p = *(char *const *const *)x, q = *(char *const *const *)y; *p && *q; p++, q++)
            if (strcmp(*p, *q) != 0)
                return false;
        return !*p && !*q;
    case OPTION_TEXT:
    case OPTION_CHOICE:
        return strcmp(*(char *const *)x, *(char *const *)y) == 0;
    case OPTION_MIRRORS:
        return false;
    default:
        return *(const int64_t *)x == *(const int64_t *)y;
    }
}

/* --- names ------------------------------------------------------------------------------------ */

void option_key(const struct option *o, char *out, size_t out_bytes)
{
    size_t n = 0;
    for (; o->name[n] && n + 1 < out_bytes; n++)
        out[n] = o->name[n] == '-' ? '_' : o->name[n];
    out[n] = 0;
}

/* "tls.certificate" is --tls-certificate. */
static void command_name(const struct option *o, char *out, size_t out_bytes)
{
    size_t n = 0;
    for (; o->name[n] && n + 1 < out_bytes; n++)
        out[n] = o->name[n] == '.' ? '-' : o->name[n];
    out[n] = 0;
}

static void name_of(const struct option *o, bool is_key, char *out, size_t out_bytes)
{
    if (is_key)
        option_key(o, out, out_bytes);
    else
        command_name(o, out, out_bytes);
}

static const struct option *find(const struct option_table *t, const char *name, bool is_key)
{
    char own[NAME_MAX_BYTES];
    for (size_t i = 0; i < t->count; i++) {
        name_of(&t->rows[i], is_key, own, sizeof own);
        if (strcmp(own, name) == 0)
            return &t->rows[i];
    }
    return NULL;
}

const struct option *option_find(const struct option_table *t, const char *name)
{
    return find(t, name, false);
}

const struct option *option_find_key(const struct option_table *t, const char *key)
{
    return find(t, key, true);
}

bool option_has_group(const struct option_table *t, const char *key)
{
    char own[NAME_MAX_BYTES];
    for (size_t i = 0; i < t->count; i++) {
        option_key(&t->rows[i], own, sizeof own);
        if (slice_starts(slice_of(own), key) && own[strlen(key)] == '.')
            return true;
    }
    return false;
}

bool option_nearest(const struct option_table *t, const char *name, bool is_key, char *out,
                    size_t out_bytes)
{
    unsigned least = 4;
    char own[NAME_MAX_BYTES];
    if (strlen(name) >= NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < t->count; i++) {
        name_of(&t->rows[i], is_key, own, sizeof own);
        unsigned edits = str_distance(name, own);
        if (edits < least && slice_copy(slice_of(own), out, out_bytes))
            least = edits;
    }
    return least < 4;
}

void option_print_help(const struct option_table *t, struct str *out)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct option *o = &t->rows[i];
        char name[NAME_MAX_BYTES];
        command_name(o, name, sizeof name);
        autofree char *left = alloc_format("--%s %s", name, o->metavar);
        str_format(out, "  %-40s %s", left, o->sentence);
        if (o->initial[0])
            str_format(out, " (%s)", o->initial);
        str_add_char(out, '\n');
    }
}
