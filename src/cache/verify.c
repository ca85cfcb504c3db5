/* SPDX-License-Identifier: Apache-2.0
 * The walk, for which scrub_look does each blob; the agreement is index_open.c's. What comes while
 * it goes on was hashed when it came. */
#include "cache/verify.h"

#include <stdbool.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json_write.h"
#include "cache/index.h"
#include "cache/keep.h"
#include "cache/pile.h"
#include "cache/scrub.h"
#include "cache/store.h"

struct walk {
    const struct verify_options *options;
    struct pile names;
    struct verify_count done, all;
};

static int note(const struct digest *d, void *cls)
{
    struct walk *w = cls;
    uint64_t size_bytes = 0;
    pile_add(&w->names, d);
    store_has(w->options->store, d, &size_bytes);
    w->all.blobs++;
    w->all.bytes += size_bytes;
    return 0;
}

static bool count_bytes(void *cls, size_t bytes)
{
    struct walk *w = cls;
    w->done.bytes += bytes;
    w->options->progress(w->options->cls, &w->done, &w->all);
    return true;
}

static int look(struct walk *w, const struct digest *d, struct verify_count *right, struct error *e)
{
    const struct verify_options *o = w->options;
    struct scrub_found found;
    int result = 0;
    enum scrub_verdict verdict = scrub_look(o->store, d, count_bytes, w, &found);
    if (verdict == SCRUB_RIGHT) {
        right->blobs++;
        right->bytes += found.size_bytes;
    } else if (verdict == SCRUB_WRONG) {
        o->wrong(o->cls, &(struct verify_wrong){.digest = *d,
                                                .size_bytes = found.size_bytes,
                                                .reason = found.why.text,
                                                .fd = found.fd});
    } else if (verdict == SCRUB_UNKNOWN) {
        result = error_set(e, found.why.kind, "%s", found.why.text);
    }
    if (found.fd >= 0)
        close(found.fd);
    w->done.blobs++;
    return result;
}

int verify_all(const struct verify_options *o, struct verify_count *right, struct error *e)
{
    struct walk w = {.options = o};
    struct digest d;
    *right = (struct verify_count){0};
    int result = store_list_names(o->store, note, &w, e);
    pile_sort(&w.names);
    for (size_t i = 0; result == 0 && pile_get(&w.names, i, &d); i++)
        result = look(&w, &d, right, e);
    pile_fini(&w.names);
    return result;
}

/* That the report is begun tells that the names were compared. */
int verify_agree(const struct keep *k, struct slice request, struct str *report, struct error *e)
{
    (void)request;
    if (report->length == 0) {
        if (index_compare(k->index, e) < 0)
            return -1;
        json_write_open(report, NULL, '{');
    }
    int got = index_step(k->index, e);
    if (got != 0)
        return got;
    json_write_number(report, "adopted", (int64_t)index_agreed(k->index).adopted);
    json_write_number(report, "lost", (int64_t)index_agreed(k->index).lost);
    json_write_close(report, '}');
    return 0;
}
