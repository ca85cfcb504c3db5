/* SPDX-License-Identifier: Apache-2.0
 * tranship verify: all that is held is hashed here, beside a server or without one. What is to be
 * changed the server does, if one runs, after it has looked itself. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/log.h"
#include "base/owner.h"
#include "base/str.h"
#include "cache/index.h"
#include "cache/quarantine.h"
#include "cache/store.h"
#include "cache/verify.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "cli/keeping.h"
#include "cli/show.h"
#include "fetch/local.h"

enum {
    PATIENCE_MS = 60 * 1000, /* to find out whether a server is there */
    IMAGES_MAX = 20,         /* named of one blob */
    SHOW_EVERY_MS = 200,
};

struct verify {
    const char *data;
    bool is_repairing, is_json, has_server, has_terminal;
    struct store *store;
    struct index *index; /* without a server, if it can be used */
    struct index_reader *reader;
    struct str wrong; /* a JSON array's items */
    size_t wrong_count, set_aside, failed;
    struct error trouble; /* of the index, that stays */
    int64_t began_ms, shown_ms;
};

/* --- a server --------------------------------------------------------------------------------- */

/* 1, 0 if there is none, -1 if it cannot be asked. */
static int find_server(const char *data, struct error *e)
{
    struct local_answer answer = {0};
    const struct local_request r = {.data = data, .path = "/healthz", .timeout_ms = PATIENCE_MS};
    int got = local_ask(&r, &answer, e);
    str_fini(&answer.body);
    return got;
}

/* What it reports: json_free. */
static struct json_t *ask(const struct verify *v, const char *verb, const char *body,
                          struct error *e)
{
    autostr struct str report = {0};
    int got = keeping_ask(v->data, verb, body, &report, e);
    if (got == 0)
        error_set(e, ERR_IO, "the server on %s has ended meanwhile; ask again", v->data);
    return got == 1 ? json_parse(str_text(&report), report.length, e) : NULL;
}

/* --- what is found wrong ---------------------------------------------------------------------- */

static void clear_line(const struct verify *v)
{
    if (v->has_terminal)
        fputs("\r\033[K", stderr);
}

/* 1: the server found the same, and set it aside; 0: it is right by now, or gone. */
static int hand_over(const struct verify *v, const char *digest, struct error *e)
{
    autojson struct json_t *said = ask(v, "recheck", digest, e);
    return said ? strcmp(show_text(said, "verdict"), "wrong") == 0 : -1;
}

static int set_aside(const struct verify *v, const struct verify_wrong *w, const char *digest,
                     struct error *e)
{
    return v->has_server ? hand_over(v, digest, e)
                         : quarantine_take(v->store, &w->digest, w->fd, e);
}

struct images {
    struct str json, text;
};

static bool add_image(const char *image, void *cls)
{
    struct images *i = cls;
    json_write_text(&i->json, NULL, image);
    str_add(&i->text, i->text.length ? ", " : "  ");
    show_foreign(&i->text, image);
    return true;
}

static void print_wrong(const struct verify_wrong *w, const char *digest, const char *images,
                        const char *fate)
{
    autostr struct str line = {0};
    str_format(&line, "%s  ", digest);
    show_bytes(&line, (int64_t)w->size_bytes);
    str_format(&line, "%s\n    %s%s\n", images, w->reason, fate);
    fputs(str_text(&line), stdout);
}

static void note_json(struct verify *v, const struct verify_wrong *w, const char *digest,
                      struct images *images, bool is_aside)
{
    json_write_open(&v->wrong, NULL, '{');
    json_write_text(&v->wrong, "digest", digest);
    json_write_number(&v->wrong, "size", (int64_t)w->size_bytes);
    json_write_text(&v->wrong, "reason", w->reason);
    json_write_open(&v->wrong, "images", '[');
    str_add(&v->wrong, str_text(&images->json));
    json_write_close(&v->wrong, ']');
    json_write_bool(&v->wrong, "set_aside", is_aside);
    json_write_close(&v->wrong, '}');
}

static void found_wrong(void *cls, const struct verify_wrong *w)
{
    struct verify *v = cls;
    char digest[DIGEST_TEXT_MAX];
    struct error e = {0};
    struct images images = {.json = {0}};
    digest_print(&w->digest, digest);
    if (v->reader)
        index_each_image_with(v->reader, &w->digest, IMAGES_MAX, add_image, &images, NULL);
    int got = v->is_repairing ? set_aside(v, w, digest, &e) : 0;
    clear_line(v);
    if (got < 0)
        fprintf(stderr, "tranship: %s: %s\n", digest, e.text);
    v->wrong_count++;
    v->set_aside += got == 1;
    v->failed += got < 0;
    if (v->is_json)
        note_json(v, w, digest, &images, got == 1);
    else
        print_wrong(w, digest, str_text(&images.text),
                    got == 1                      ? "; set aside"
                    : v->is_repairing && got == 0 ? "; right, or gone, by now"
                                                  : "");
    str_fini(&images.json);
    str_fini(&images.text);
}

static void show_progress(void *cls, const struct verify_count *done,
                          const struct verify_count *all)
{
    struct verify *v = cls;
    autostr struct str line = {0};
    int64_t now_ms = clock_mono_ms(), took_ms = now_ms - v->began_ms;
    if (!v->has_terminal || now_ms < v->shown_ms + SHOW_EVERY_MS)
        return;
    v->shown_ms = now_ms;
    show_bytes(&line, (int64_t)done->bytes);
    str_add(&line, " of ");
    show_bytes(&line, (int64_t)all->bytes);
    if (took_ms > 0 && done->bytes > 0) {
        double rate = (double)done->bytes / (double)took_ms; /* bytes a millisecond */
        str_add(&line, ", ");
        show_bytes(&line, (int64_t)(rate * 1000));
        str_add(&line, "/s, ");
        show_duration(&line, all->bytes > done->bytes
                                 ? (int64_t)((double)(all->bytes - done->bytes) / rate)
                                 : 0);
        str_add(&line, " left");
    }
    clear_line(v);
    fputs(str_text(&line), stderr);
}

/* --- files and rows --------------------------------------------------------------------------- */

static struct json_t *agree_here(const struct verify *v, struct error *e)
{
    autostr struct str report = {0};
    const struct keep k = {.store = v->store, .index = v->index};
    int got;
    do
        got = verify_agree(&k, slice_of(""), &report, e);
    while (got == 1);
    return got == 0 ? json_parse(str_text(&report), report.length, e) : NULL;
}

/* Where the index cannot be used, that is what is told; the files were looked at all the same. */
static void agree(struct verify *v, struct index_agreed *out)
{
    if (v->trouble.kind != ERR_NONE)
        return;
    struct error e = {0};
    autojson struct json_t *report = v->has_server ? ask(v, "agree", "{}", &e) : agree_here(v, &e);
    if (!report) {
        v->trouble = e;
        return;
    }
    out->adopted = (size_t)show_number(report, "adopted");
    out->lost = (size_t)show_number(report, "lost");
    /* The rows of what was set aside here go with it; a server has dropped them by then. */
    if (!v->has_server)
        out->lost -= out->lost < v->set_aside ? out->lost : v->set_aside;
}

/* --- all of it -------------------------------------------------------------------------------- */

/* With a server its index is read; without one this process owns the folder. */
static int open_data(struct verify *v, struct error *e)
{
    struct error absent;
    int got = find_server(v->data, e);
    if (got < 0)
        return -1;
    v->has_server = got == 1;
    v->store = store_open_beside(v->data, e);
    if (!v->store || v->has_server) {
        v->reader = v->store ? index_reader_open_beside(v->store, NULL) : NULL;
        return v->store ? 0 : -1;
    }
    /* It is there: only now may it be opened by who would make it. */
    v->reader = index_reader_open_beside(v->store, &absent);
    bool is_lost = !v->reader && absent.kind == ERR_NOT_FOUND;
    index_reader_close(take(v->reader));
    store_close(v->store);
    owner_become(v->data);
    v->store = store_open(v->data, e);
    if (!v->store)
        return -1;
    if (is_lost && !v->is_repairing)
        error_set(&v->trouble, ERR_NOT_FOUND, "the index is missing");
    else
        v->index = v->is_repairing ? index_open_serving(v->store, &v->trouble)
                                   : index_open_sound(v->store, &v->trouble);
    v->reader = v->index ? index_reader_open(v->index, NULL) : NULL;
    return 0;
}

static void close_data(struct verify *v)
{
    index_reader_close(v->reader);
    index_close(v->index);
    store_close(v->store);
    str_fini(&v->wrong);
}

static void print_json(const struct verify *v, const struct verify_count *right,
                       const struct index_agreed *agreed)
{
    autostr struct str out = {0};
    json_write_open(&out, NULL, '{');
    json_write_number(&out, "right", (int64_t)right->blobs);
    json_write_number(&out, "right_bytes", (int64_t)right->bytes);
    json_write_open(&out, "wrong", '[');
    str_add(&out, str_text(&v->wrong));
    json_write_close(&out, ']');
    json_write_number(&out, "adopted", (int64_t)agreed->adopted);
    json_write_number(&out, "lost", (int64_t)agreed->lost);
    json_write_text(&out, "index", v->trouble.kind == ERR_NONE ? NULL : v->trouble.text);
    json_write_close(&out, '}');
    puts(str_text(&out));
}

static void print_text(const struct verify *v, const struct verify_count *right,
                       const struct index_agreed *agreed)
{
    autostr struct str out = {0};
    str_format(&out, "%llu blobs are right (", (unsigned long long)right->blobs);
    show_bytes(&out, (int64_t)right->bytes);
    str_format(&out, "), %zu wrong", v->wrong_count);
    if (v->set_aside)
        str_format(&out, ", of which %zu were set aside", v->set_aside);
    if (agreed->adopted || agreed->lost)
        str_format(&out, "; index: %zu files added, %zu without a file dropped", agreed->adopted,
                   agreed->lost);
    puts(str_text(&out));
    if (v->wrong_count && !v->is_repairing)
        puts("tranship verify --repair sets the wrong aside; the next pull fetches them again");
}

static int run(struct verify *v, struct error *e)
{
    struct verify_count right;
    struct index_agreed agreed = {0};
    if (open_data(v, e) < 0)
        return -1;
    const struct verify_options o = {
        .store = v->store, .wrong = found_wrong, .progress = show_progress, .cls = v};
    int result = verify_all(&o, &right, e);
    clear_line(v);
    if (result < 0)
        return -1;
    agree(v, &agreed);
    if (v->is_json)
        print_json(v, &right, &agreed);
    else
        print_text(v, &right, &agreed);
    if (v->trouble.kind != ERR_NONE)
        return error_set(e, v->trouble.kind, "%s%s", v->trouble.text,
                         v->is_repairing || v->has_server
                             ? ""
                             : "; tranship verify --repair makes it anew from the files");
    bool is_left = v->failed > 0 || (v->wrong_count > 0 && !v->is_repairing);
    return is_left ? 1 : 0;
}

int cmd_verify(int argc, char **argv)
{
    struct error e = {0};
    struct verify v = {.has_terminal = isatty(STDERR_FILENO) == 1, .began_ms = clock_mono_ms()};
    const struct argument table[] = {
        {"--repair", NULL, "set aside what is wrong, make a lost or broken index anew", NULL,
         &v.is_repairing},
        {"--json", NULL, "as JSON, for programs", NULL, &v.is_json},
    };
    struct arguments a = {
        .usage = "verify [--repair]\n\nHashes all that is held, names what is wrong, and makes "
                 "files and index agree.\nExit status 1: something is wrong, and was not repaired.",
        .table = table,
        .count = sizeof table / sizeof *table};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    if (rest > 0)
        error_set(&e, ERR_USAGE, "verify takes options only, not \"%.80s\"", argv[0]);
    if (rest != 0)
        return arguments_fail(&e);
    autofree char *data = arguments_data(&a);
    if (!data)
        return 2;
    v.data = data;
    log_configure(LOG_LEVEL_WARNING, LOG_FORMAT_TEXT); /* what was done is in the summary */
    int status = run(&v, &e);
    close_data(&v);
    return status < 0 ? arguments_fail(&e) : status;
}
