/* SPDX-License-Identifier: Apache-2.0
 * Who runs on the folder may change meanwhile: a server ends, another command's mirror begins. Then
 * what is left is asked of who is there now. */
#include "cli/pulling.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "app/app.h"
#include "app/config.h"
#include "app/mistakes.h"
#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/owner.h"
#include "base/str.h"
#include "bundle/bring.h"
#include "bundle/list.h"
#include "bundle/tags.h"
#include "cli/progress.h"
#include "cli/show.h"
#include "oci/digests.h"

enum {
    COLUMNS = 80,
    ROWS = 24,              /* of a terminal that does not say */
    BUSY_WITHIN_MS = 30000, /* in which who owns the folder has to open its door, or to go */
    BUSY_EVERY_MS = 50,
};

struct screen {
    unsigned drawn; /* lines below which the cursor stands */
};

static volatile sig_atomic_t is_stopped;

static void stop(int signal)
{
    (void)signal;
    is_stopped = 1;
}

static void take_signals(void)
{
    struct sigaction act = {.sa_handler = stop, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
}

/* --- what is told ----------------------------------------------------------------------------- */

static void clear(struct screen *s)
{
    if (s->drawn)
        fprintf(stderr, "\033[%uA\033[J", s->drawn);
    s->drawn = 0;
}

static void tell(const char *line, void *cls)
{
    struct screen *s = cls;
    clear(s);
    fprintf(stderr, "tranship: %s\n", line);
}

static void draw(const struct bring_look *l, void *cls)
{
    struct screen *s = cls;
    autostr struct str out = {0};
    struct winsize size = {0};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
        size = (struct winsize){.ws_col = COLUMNS, .ws_row = ROWS};
    unsigned drawn = progress_render(l, size.ws_col, size.ws_row - 1u, &out);
    clear(s);
    fputs(str_text(&out), stderr);
    s->drawn = drawn;
}

static void add_name(const struct reference *n, struct str *out)
{
    char digest[DIGEST_TEXT_MAX];
    str_format(out, "%s/%s", n->registry, n->repository);
    if (n->tag[0])
        str_format(out, ":%s", n->tag);
    if (n->digest.algorithm)
        str_format(out, "@%s", digest_print(&n->digest, digest));
}

static void tell_blob(const struct bring_layer *l, void *cls)
{
    char digest[DIGEST_TEXT_MAX];
    autostr struct str line = {0};
    add_name(&l->image->name, &line);
    str_format(&line, ": %s came, ", digest_print(&l->digest, digest));
    show_bytes(&line, l->size_bytes);
    tell(str_text(&line), cls);
}

static void tell_image(const struct bring_image *i, void *cls)
{
    autostr struct str line = {0};
    if (i->error.kind != ERR_NONE) {
        tell(i->error.text, cls);
        return;
    }
    add_name(&i->name, &line);
    str_format(&line, ": %s, ", i->came ? "complete" : "was held");
    show_bytes(&line, (int64_t)i->came_bytes);
    str_add(&line, " came, ");
    show_bytes(&line, (int64_t)i->held_bytes);
    str_add(&line, " held before");
    tell(str_text(&line), cls);
}

/* --- what is named ---------------------------------------------------------------------------- */

static int read_all(FILE *f, const char *name, struct str *out, struct error *e)
{
    char some[65536];
    size_t n;
    while ((n = fread(some, 1, sizeof some, f)) > 0) {
        str_add_bytes(out, some, n);
        if (out->length > LIST_MAX_BYTES)
            return error_set(e, ERR_CORRUPT, "%s is larger than %u bytes", name, LIST_MAX_BYTES);
    }
    return ferror(f) ? error_errno(e, "read %s", name) : 0;
}

static const char *environment(const char *name)
{
    return getenv(name);
}

static int read_file(const char *from, struct list *out, struct error *e)
{
    autostr struct str bytes = {0};
    bool is_stdin = strcmp(from, "-") == 0;
    const char *name = is_stdin ? "standard input" : from;
    FILE *f = is_stdin ? stdin : fopen(from, "re");
    if (!f)
        return error_errno(e, "open %s", name);
    int result = read_all(f, name, &bytes, e);
    if (!is_stdin)
        fclose(f);
    if (result < 0)
        return -1;
    return list_read(out, name, (struct slice){str_text(&bytes), bytes.length}, environment, e);
}

int pulling_read(char **names, size_t count, const char *from, struct list *out, struct error *e)
{
    for (size_t i = 0; i < count; i++)
        if (list_add(out, slice_of(names[i]), e) < 0) {
            e->kind = ERR_USAGE;
            return -1;
        }
    return from ? read_file(from, out, e) : 0;
}

/* --- by whom ---------------------------------------------------------------------------------- */

/* What is asked of whoever runs on the folder. */
struct session {
    const struct pulling *pulling;
    const struct list *list;
    struct bring_options options;
    struct bring_image *images;
    size_t count;
    struct digests named; /* so that each is asked for once */
    struct bring *bring;  /* NULL: the patterns are not resolved yet */
};

static struct bring_image *add_image(struct session *s, const struct reference *name)
{
    struct digest hash;
    autostr struct str text = {0};
    add_name(name, &text);
    digest_of(DIGEST_SHA256, str_text(&text), text.length, &hash);
    if (!digests_add(&s->named, &hash, NULL))
        return NULL;
    if ((s->count & (s->count - 1)) == 0)
        s->images = alloc_grow(s->images, s->count ? s->count * 2 : 1, sizeof *s->images);
    s->images[s->count] = (struct bring_image){.name = *name};
    return &s->images[s->count++];
}

static void add_tags(struct session *s, const struct list_item *item, const struct tags *found)
{
    bool takes_all = item->takes_all || s->pulling->takes_all_tags;
    struct reference name = item->name;
    autostr struct str line = {0};
    add_name(&name, &line);
    str_format(&line, ":%s is", item->pattern);
    for (size_t i = 0; i < (takes_all ? found->count : 1); i++) {
        slice_copy(slice_of(found->names[i]), name.tag, sizeof name.tag);
        add_image(s, &name);
        str_format(&line, " %s", name.tag);
    }
    str_format(&line, " (%zu of %zu tags match)", found->count, found->looked_at);
    tell(str_text(&line), s->options.cls);
}

/* 0, 1 (no mirror), -1 */
static int resolve(struct session *s, struct error *e)
{
    for (size_t i = 0; i < s->list->count; i++) {
        const struct list_item *item = &s->list->items[i];
        autotags struct tags found = {0};
        int got = item->pattern ? tags_find(s->pulling->config->data, item, &found, e) : 0;
        if (got < 0 && item->place)
            error_prefix(e, "%s", item->place);
        if (got == 1 || (got < 0 && !s->pulling->keeps_going))
            return got;
        if (got == 0 && item->pattern) {
            add_tags(s, item, &found);
            continue;
        }
        struct bring_image *added = add_image(s, &item->name);
        if (got < 0 && added) {
            added->error = *e;
            tell(e->text, s->options.cls);
        }
    }
    return 0;
}

static void forget_images(struct session *s)
{
    free(s->images);
    s->images = NULL;
    s->count = 0;
    digests_fini(&s->named);
}

static int attend(void *cls, struct error *e)
{
    struct session *s = cls;
    if (!s->bring) {
        forget_images(s);
        int got = resolve(s, e);
        if (got != 0)
            return got;
        s->bring = bring_new(&s->options, s->images, s->count);
    }
    return bring_run(s->bring, e);
}

static int attend_lent(void *cls, struct error *e)
{
    int got = attend(cls, e);
    return got == 1 ? error_set(e, ERR_IO, "no socket can be made in the data folder") : got;
}

static int lend(struct session *s, struct error *e)
{
    struct mistakes m = {0};
    error_set(e, ERR_USAGE, "the configuration has mistakes");
    owner_become(s->pulling->config->data);
    int result = app_lend(s->pulling->config, attend_lent, s, &m, e);
    owner_return();
    mistakes_print(&m, stderr, "tranship: ");
    mistakes_fini(&m);
    return result;
}

static int run(struct session *s, struct error *e)
{
    int64_t served_ms = clock_mono_ms();
    for (;;) {
        int64_t began_ms = clock_mono_ms();
        int got = attend(s, e);
        if (got < 1)
            return got;
        if (clock_mono_ms() - began_ms > BUSY_EVERY_MS)
            served_ms = clock_mono_ms();
        if (lend(s, e) == 0)
            return 0;
        if (e->kind != ERR_BUSY || is_stopped || clock_mono_ms() - served_ms > BUSY_WITHIN_MS)
            return -1;
        poll(NULL, 0, BUSY_EVERY_MS);
    }
}

int pulling_run(const struct pulling *p, const struct list *l, struct bring_image **images,
                size_t *count, struct error *e)
{
    struct screen screen = {0};
    bool is_terminal = isatty(STDERR_FILENO);
    struct session s = {.pulling = p,
                        .list = l,
                        .options = {.data = p->config->data,
                                    .platforms = p->platforms,
                                    .has_referrers = p->has_referrers,
                                    .is_pinned = p->is_pinned,
                                    .keeps_going = p->keeps_going,
                                    .is_stopped = &is_stopped,
                                    .note = tell,
                                    .blob_came = is_terminal ? NULL : tell_blob,
                                    .image_ended = tell_image,
                                    .look = is_terminal ? draw : NULL,
                                    .cls = &screen}};
    take_signals();
    int result = run(&s, e);
    clear(&screen);
    if (s.bring)
        bring_free(s.bring);
    digests_fini(&s.named);
    if (result == 0) {
        *images = s.images;
        *count = s.count;
    } else {
        free(s.images);
    }
    return result;
}
