/* SPDX-License-Identifier: Apache-2.0
 * tranship import: bundles and other tools' archives into the data folder. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "app/config.h"
#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/owner.h"
#include "bundle/import.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "fetch/local.h"
#include "mirror/mirror.h"
#include "oci/digests.h"
#include "oci/problem.h"
#include "oci/signature.h"

enum { STATUS_MORE_TO_COME = 75, HAND_OVER_MS = 3600 * 1000 };

struct wanted {
    const char *verify, *name;
    bool is_dry_run, is_forced, is_pruning;
};

static void print_note(const char *line, void *cls)
{
    (void)cls;
    fprintf(stderr, "tranship: %s\n", line);
}

static uint64_t number(const struct json_t *of, const char *key)
{
    int64_t n = 0;
    json_get_integer(of, key, &n);
    return n > 0 ? (uint64_t)n : 0;
}

static int read_answer(const struct local_answer *answer, struct pruned *out, struct error *e)
{
    char code[64] = "", message[256] = "no reason given";
    const char *text = str_text(&answer->body);
    if (answer->status != 200) {
        problem_read(text, answer->body.length, code, sizeof code, message, sizeof message);
        return error_set(e, ERR_IO, "the running mirror refused it: %s", message);
    }
    autojson struct json_t *said = json_parse(text, answer->body.length, e);
    if (!said)
        return error_prefix(e, "the running mirror's answer");
    *out = (struct pruned){.tags = number(said, "pruned_tags"),
                           .blobs = number(said, "pruned_blobs"),
                           .bytes = number(said, "pruned_bytes")};
    return 1;
}

/* What is left to do takes as long as renaming; other work of that mirror may be before it. */
static int ask_mirror(struct admittance *a, void *cls, struct error *e)
{
    struct local_answer answer = {0};
    const struct config *c = cls;
    autofree char *body = alloc_format("%s%s", a->id, a->is_pruning ? " prune" : "");
    const struct local_request r = {
        .data = c->data, .path = "/control/import", .body = body, .timeout_ms = HAND_OVER_MS};
    int got = local_ask(&r, &answer, e);
    if (got == 1)
        got = read_answer(&answer, &a->pruned, e);
    str_fini(&answer.body);
    return got;
}

static void print_result(const char *path, const struct import_result *r, bool is_dry_run)
{
    printf("%s: %zu images, %zu blobs, of which %zu %s new (%.1f MB)\n", path, r->images, r->blobs,
           r->new_blobs, is_dry_run ? "would be" : "were", (double)r->new_bytes / 1e6);
    if (r->pruned.tags + r->pruned.blobs > 0)
        printf("%s: %" PRIu64 " tags and %" PRIu64 " blobs that it does not name %s (%.1f MB)\n",
               path, r->pruned.tags, r->pruned.blobs, is_dry_run ? "would go" : "are gone",
               (double)r->pruned.bytes / 1e6);
}

/* Volumes may come in any order, and other bundles between them. */
static int take_all(const struct import_options *wanted, char **paths, int count)
{
    autodigests struct digests ids = {0};
    autofree bool *is_whole = alloc_array((size_t)count + 1, sizeof *is_whole);
    struct import_options o = *wanted;
    for (int i = 0; i < count; i++) {
        struct error e = {0};
        struct import_result r;
        if (import_take(&o, paths[i], &r, &e) < 0)
            return arguments_fail(&e);
        size_t number = 0;
        digests_add(&ids, &r.id, &number);
        is_whole[number] = r.is_whole;
        if (r.is_whole) {
            print_result(paths[i], &r, o.rehearsal);
            o.whole = r.id;
        } else
            printf("%s: %s; still missing: volumes %s\n", paths[i], o.rehearsal ? "good" : "taken",
                   r.missing);
    }
    for (size_t i = 0; i < ids.count; i++)
        if (!is_whole[i])
            return STATUS_MORE_TO_COME;
    return 0;
}

static int run(const struct arguments *a, const struct wanted *w, char **paths, int count)
{
    struct error e = {0};
    struct reference name;
    size_t length = 0;
    struct config c;
    autofree char *key = NULL;
    autorehearsal struct rehearsal rehearsal = {0};
    struct import_options o = {.rehearsal = w->is_dry_run ? &rehearsal : NULL,
                               .is_forced = w->is_forced,
                               .is_pruning = w->is_pruning,
                               .note = print_note};
    if (count == 0)
        error_set(&e, ERR_USAGE, "import takes at least one FILE");
    else if (w->name && reference_parse(slice_of(w->name), &name, &e) < 0)
        error_prefix(&e, "--name %s", w->name);
    else if (w->verify && file_read(AT_FDCWD, w->verify, KEY_PEM_MAX, &key, &length, &e) == 0)
        error_set(&e, ERR_NOT_FOUND, "%s: no such file", w->verify);
    if (e.kind != ERR_NONE)
        return arguments_fail(&e);
    if (arguments_config(a, &c) < 0)
        return 2;
    owner_become(c.data);
    o.data = c.data;
    o.budget_bytes = c.budget_bytes;
    o.hand_over = ask_mirror;
    o.cls = &c;
    o.name = w->name ? &name : NULL;
    if (w->verify) /* an empty file is no key either, and must not pass for "not asked" */
        o.public_pem = length ? (struct slice){key, length} : slice_of(" ");
    int status = take_all(&o, paths, count);
    config_fini(&c);
    return status;
}

int cmd_import(int argc, char **argv)
{
    struct error e = {0};
    struct wanted w = {0};
    const struct argument table[] = {
        {"--verify", "PUBKEY", "refuse what was not signed with that key's other half", &w.verify,
         NULL},
        {"--dry-run", NULL, "check all files together, tell what would come, and leave nothing",
         NULL, &w.is_dry_run},
        {"--prune", NULL, "drop what the bundle does not name, save for pins, once all of it is in",
         NULL, &w.is_pruning},
        {"--name", "REPOSITORY[:TAG]", "for what an archive of another tool gives no name", &w.name,
         NULL},
        {"--force", NULL, "let archives without registry digests replace tags", NULL, &w.is_forced},
    };
    struct arguments a = {
        .usage = "import FILE…\n\nTakes bundles (files, volumes in any order, folders), OCI "
                 "layouts and archives of docker save into the data folder.\nExit status 75: "
                 "volumes are still missing.",
        .table = table,
        .count = sizeof table / sizeof *table};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    return rest < 0 ? arguments_fail(&e) : run(&a, &w, argv, rest);
}
