/* SPDX-License-Identifier: Apache-2.0
 * A list of images: whatever is taken out of it can be said again. */
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/list.h"
#include "fuzz.h"
#include "oci/tag_pattern.h"

static const char *variable(const char *name)
{
    return name[0] == 'S' ? "set" : name[0] == 'E' ? "" : NULL;
}

static void check_item(const struct list_item *item)
{
    struct error e;
    autostr struct str text = {0};
    autolist struct list again = {0};
    char digest[DIGEST_TEXT_MAX];
    const struct reference *n = &item->name;
    must(item->place != NULL);
    must(!item->pattern || tag_pattern_check(slice_of(item->pattern), &e) == 0);
    must(!item->takes_all || item->pattern || n->tag[0] || n->digest.algorithm);
    str_format(&text, "%s/%s", n->registry, n->repository);
    if (item->pattern || n->tag[0])
        str_format(&text, ":%s", item->pattern ? item->pattern : n->tag);
    if (n->digest.algorithm)
        str_format(&text, "@%s", digest_print(&n->digest, digest));
    must(list_add(&again, slice_of(str_text(&text)), &e) == 0);
    must(strcmp(again.items[0].name.repository, n->repository) == 0);
    must(strcmp(again.items[0].name.tag, n->tag) == 0);
    must(!item->pattern == !again.items[0].pattern);
    if (item->pattern)
        (void)tag_pattern_matches(slice_of(item->pattern), "7.4.2-alpine");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    autolist struct list l = {0};
    int got = list_read(&l, "f", (struct slice){(const char *)data, size}, variable, &e);
    must((got == 0) == (l.count > 0));
    must(got == 0 || (e.text[0] && !strchr(e.text, '\n')));
    for (size_t i = 0; i < l.count && i < 100; i++)
        check_item(&l.items[i]);
    return 0;
}
