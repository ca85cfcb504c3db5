/* SPDX-License-Identifier: Apache-2.0
 * A second, shallow reader of the same text: it looks only at brackets, commas, keys and line ends,
 * and leaves it to the parser to say what is JSON. */
#include "base/json_lines.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "base/str.h"

enum { DEPTH_MAX = 100, SHOWN_KEY_MAX = 80 };

struct node {
    unsigned line, parent, first, last, next; /* 0: none */
    unsigned ordinal;                         /* among its parent's */
    bool is_repeated;
    char *key; /* NULL: an item of an array, or the document */
};

struct json_lines {
    struct node *nodes;
    size_t count, room;
};

struct reader {
    struct json_lines *l;
    const char *at, *end;
    unsigned line;
};

static unsigned add_node(struct json_lines *l, unsigned parent, unsigned line, char *key)
{
    if (l->count == l->room) {
        l->room = l->room ? l->room * 2 : 64;
        l->nodes = alloc_grow(l->nodes, l->room, sizeof *l->nodes);
    }
    unsigned new = (unsigned)l->count++;
    l->nodes[new] = (struct node){.line = line, .parent = parent, .key = key};
    if (new == 0)
        return 0;
    struct node *above = &l->nodes[parent];
    if (above->last) {
        l->nodes[new].ordinal = l->nodes[above->last].ordinal + 1;
        l->nodes[above->last].next = new;
    } else {
        above->first = new;
    }
    above->last = new;
    return new;
}

static void skip_space(struct reader *r)
{
    for (; r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at; r->at++)
        r->line += *r->at == '\n';
}

/* What stands between two quotes, still escaped; the reader is then behind the second. */
static struct slice read_string(struct reader *r)
{
    const char *begin = ++r->at;
    while (r->at < r->end && *r->at != '"')
        r->at += *r->at == '\\' && r->at + 1 < r->end ? 2 : 1;
    struct slice found = {begin, (size_t)(r->at - begin)};
    if (r->at < r->end)
        r->at++;
    return found;
}

static char *unescape(struct slice raw)
{
    if (!memchr(raw.at, '\\', raw.length))
        return slice_dup(raw);
    autostr struct str text = {0};
    str_add(&text, "[\"");
    str_add_bytes(&text, raw.at, raw.length);
    str_add(&text, "\"]");
    autojson struct json_t *list = json_parse(str_text(&text), text.length, NULL);
    const char *key = json_text(json_item(list, 0));
    return key ? alloc_string(key) : slice_dup(raw);
}

static int by_key_then_place(const void *a, const void *b)
{
    const struct node *const *x = a, *const *y = b;
    int order = strcmp((*x)->key, (*y)->key);
    return order ? order : (*x)->ordinal < (*y)->ordinal ? -1 : (*x)->ordinal > (*y)->ordinal;
}

static void mark_repeated(struct json_lines *l, unsigned object)
{
    size_t count = 0;
    if (!l->nodes[object].first)
        return;
    struct node **all = alloc_array(l->nodes[l->nodes[object].last].ordinal + 1, sizeof *all);
    for (unsigned i = l->nodes[object].first; i; i = l->nodes[i].next)
        if (l->nodes[i].key)
            all[count++] = &l->nodes[i];
    qsort(all, count, sizeof(struct node *), by_key_then_place);
    for (size_t i = 1; i < count; i++)
        all[i]->is_repeated = strcmp(all[i - 1]->key, all[i]->key) == 0;
    free(all);
}

static void read_value(struct reader *r, unsigned node, unsigned depth);

static void read_members(struct reader *r, unsigned node, unsigned depth, char close)
{
    r->at++;
    for (;;) {
        char *key = NULL;
        skip_space(r);
        if (r->at >= r->end || *r->at == '}' || *r->at == ']')
            break;
        unsigned line = r->line;
        if (close == '}') {
            if (*r->at != '"')
                break;
            key = unescape(read_string(r));
            skip_space(r);
            if (r->at < r->end && *r->at == ':')
                r->at++;
            skip_space(r);
        }
        read_value(r, add_node(r->l, node, line, key), depth + 1);
        skip_space(r);
        if (r->at >= r->end || *r->at != ',')
            break;
        r->at++;
    }
    if (r->at < r->end)
        r->at++;
}

static void read_value(struct reader *r, unsigned node, unsigned depth)
{
    if (r->at >= r->end)
        return;
    if (*r->at == '"') {
        read_string(r);
    } else if ((*r->at == '{' || *r->at == '[') && depth <= DEPTH_MAX) {
        bool is_object = *r->at == '{';
        read_members(r, node, depth, is_object ? '}' : ']');
        if (is_object)
            mark_repeated(r->l, node);
    } else {
        while (r->at < r->end && !strchr(",]} \t\r\n", *r->at))
            r->at++;
    }
}

struct json_lines *json_lines_new(const char *bytes, size_t length)
{
    struct json_lines *l = alloc_zero(sizeof *l);
    struct reader r = {.l = l, .at = bytes, .end = bytes + length, .line = 1};
    add_node(l, 0, 1, NULL);
    skip_space(&r);
    l->nodes[0].line = r.line;
    read_value(&r, 0, 0);
    return l;
}

void json_lines_free(struct json_lines *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->count; i++)
        free(l->nodes[i].key);
    free(l->nodes);
    free(l);
}

unsigned json_lines_key(const struct json_lines *l, unsigned node, const char *key)
{
    unsigned found = node;
    for (unsigned i = l->nodes[node].first; i; i = l->nodes[i].next)
        if (l->nodes[i].key && strcmp(l->nodes[i].key, key) == 0)
            found = i;
    return found;
}

unsigned json_lines_item(const struct json_lines *l, unsigned node, size_t i)
{
    for (unsigned at = l->nodes[node].first; at; at = l->nodes[at].next)
        if (l->nodes[at].ordinal == i)
            return at;
    return node;
}

unsigned json_lines_at(const struct json_lines *l, unsigned node)
{
    return l->nodes[node].line;
}

static void add_key(const char *key, struct str *out)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/-";
    struct slice shown = slice_sub(slice_of(key), 0, SHOWN_KEY_MAX);
    if (key[0] && !key[strspn(key, plain)])
        str_add_bytes(out, shown.at, shown.length);
    else
        str_json(out, shown);
    if (strlen(key) > SHOWN_KEY_MAX)
        str_add(out, "...");
}

void json_lines_path(const struct json_lines *l, unsigned node, struct str *out)
{
    const struct node *n = &l->nodes[node];
    if (node == 0)
        return;
    json_lines_path(l, n->parent, out); /* as deep as the document, which is bounded */
    if (!n->key) {
        str_format(out, "[%u]", n->ordinal);
        return;
    }
    if (n->parent != 0)
        str_add_char(out, '.');
    add_key(n->key, out);
}

unsigned json_lines_duplicate(const struct json_lines *l, unsigned after)
{
    for (size_t i = (size_t)after + 1; i < l->count; i++)
        if (l->nodes[i].is_repeated)
            return (unsigned)i;
    return 0;
}
