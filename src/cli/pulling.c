/* SPDX-License-Identifier: Apache-2.0
 * Who runs on the folder may change meanwhile: a server ends, another command's mirror begins. Then
 * what is left is asked of who is there now. */
#include "cli/pulling.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "app/app.h"
#include "app/config.h"
#include "app/mistakes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "bundle/bring.h"
#include "cli/progress.h"
#include "cli/show.h"

enum {
    COLUMNS = 80,
    ROWS = 24,              /* of a terminal that does not say */
    BUSY_WITHIN_MS = 30000, /* in which who owns the folder has to open its door, or to go */
    BUSY_EVERY_MS = 50,
};

struct screen {
    bool is_terminal;
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

/* --- by whom ---------------------------------------------------------------------------------- */

static int run_lent(void *cls, struct error *e)
{
    int got = bring_run(cls, e);
    return got == 1 ? error_set(e, ERR_IO, "no socket can be made in the data folder") : got;
}

static int lend(const struct config *c, struct bring *b, struct error *e)
{
    struct mistakes m = {0};
    error_set(e, ERR_USAGE, "the configuration has mistakes");
    int result = app_lend(c, run_lent, b, &m, e);
    mistakes_print(&m, stderr, "tranship: ");
    mistakes_fini(&m);
    return result;
}

static int run(const struct config *c, struct bring *b, struct error *e)
{
    int64_t served_ms = clock_mono_ms();
    for (;;) {
        int64_t began_ms = clock_mono_ms();
        int got = bring_run(b, e);
        if (got < 1)
            return got;
        if (clock_mono_ms() - began_ms > BUSY_EVERY_MS)
            served_ms = clock_mono_ms();
        if (lend(c, b, e) == 0)
            return 0;
        if (e->kind != ERR_BUSY || is_stopped || clock_mono_ms() - served_ms > BUSY_WITHIN_MS)
            return -1;
        poll(NULL, 0, BUSY_EVERY_MS);
    }
}

int pulling_run(const struct pulling *p, struct bring_image *images, size_t count, struct error *e)
{
    struct screen screen = {.is_terminal = isatty(STDERR_FILENO)};
    const struct bring_options o = {.data = p->config->data,
                                    .platforms = p->platforms,
                                    .has_referrers = p->has_referrers,
                                    .is_pinned = p->is_pinned,
                                    .keeps_going = p->keeps_going,
                                    .is_stopped = &is_stopped,
                                    .note = tell,
                                    .blob_came = screen.is_terminal ? NULL : tell_blob,
                                    .image_ended = tell_image,
                                    .look = screen.is_terminal ? draw : NULL,
                                    .cls = &screen};
    take_signals();
    struct bring *b = bring_new(&o, images, count);
    int result = run(p->config, b, e);
    clear(&screen);
    bring_free(b);
    return result;
}
