/* SPDX-License-Identifier: Apache-2.0
 * Reads our own format: every byte outside the blobs is composed anew from the bundle's contents
 * and compared, every blob is hashed. So nothing can be added, left out, moved or changed that the
 * contents, and with them the signature, do not know of. */
#include "bundle/strict.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "bundle/admit.h"
#include "bundle/input.h"
#include "bundle/intake.h"
#include "bundle/stage.h"
#include "bundle/tar.h"
#include "cache/store.h"
#include "oci/signature.h"

#define SIZE_AT 124 /* in a header, eleven octal digits */
#define VOLUME_TEXT_MAX 32

static void close_input(struct input **in)
{
    input_close(*in);
}
#define autoinput __attribute__((cleanup(close_input)))

int strict_is_ours(const char *path, bool *is_ours, struct error *e)
{
    char block[TAR_BLOCK];
    autoinput struct input *file = input_open(path, e);
    ssize_t n = file ? input_read_some(file, block, sizeof block, e) : -1;
    if (n < 0)
        return -1;
    *is_ours =
        n == (ssize_t)sizeof block && memcmp(block, MEMBER_CONTENTS, sizeof MEMBER_CONTENTS) == 0;
    return 0;
}

/* --- what it says of itself ------------------------------------------------------------------- */

static int check_signature(const struct intake *in, const char *text, size_t length,
                           const uint8_t *signature, struct error *e)
{
    if (!in->options->public_pem.length)
        return 0;
    if (!signature)
        return error_set(e, ERR_DENIED, "is not signed");
    int got = signature_check(in->options->public_pem, text, length, signature, e);
    if (got < 0)
        return error_prefix(e, "the key to verify with");
    return got == 1 ? 0 : error_set(e, ERR_DENIED, "is not signed by that key, or was changed");
}

static int check_absent(const struct intake *in, struct error *e)
{
    const struct blob_list *l = &in->contents.absent;
    autostr struct str list = {0};
    size_t missing = 0;
    for (size_t i = 0; i < l->digests.count; i++) {
        char text[DIGEST_TEXT_MAX];
        if (intake_is_held(in, &l->digests.items[i], l->sizes[i]))
            continue;
        if (missing++ < 2)
            str_format(&list, "%s%s", list.length ? ", " : "",
                       digest_print(&l->digests.items[i], text));
        intake_note(in, "not held: %s", digest_print(&l->digests.items[i], text));
    }
    if (!missing)
        return 0;
    return error_set(e, ERR_NOT_FOUND,
                     "was made against a receipt of %.60s, but %zu of its blobs are not held here "
                     "(%s%s): export again with a new receipt",
                     in->contents.receipt_site ? in->contents.receipt_site : "nobody", missing,
                     str_text(&list), missing > 2 ? ", …" : "");
}

/* What is still to be written, of all volumes. */
static uint64_t bytes_to_come(const struct intake *in)
{
    uint64_t sum = 0;
    const struct blob_list *l = &in->contents.blobs;
    for (size_t i = 0; i < in->volumes.piece_count; i++) {
        const struct piece *p = &in->volumes.pieces[i];
        const struct digest *d = &l->digests.items[p->blob];
        if (p->offset == 0 && (!p->is_whole || intake_wants(in, d)) &&
            !intake_is_held(in, d, l->sizes[p->blob]) && !stage_has(in->stage, d, NULL))
            sum += l->sizes[p->blob];
    }
    return sum;
}

/* In a folder of its own: what a dry run leaves out must not count for the real one. */
static struct stage *open_rehearsal(struct intake *in, struct error *e)
{
    struct digest id;
    struct rehearsal *r = in->options->rehearsal;
    size_t number = digests_find(&r->ids, &in->id);
    in->is_kept = true;
    if (number != DIGESTS_NONE)
        return r->stages[number];
    digest_of(DIGEST_SHA256, &in->id, sizeof in->id, &id);
    struct stage *g = stage_open(in->store, &id, false, e);
    if (!g)
        return NULL;
    digests_add(&r->ids, &in->id, &number);
    r->stages = alloc_grow(r->stages, number + 1, sizeof *r->stages);
    r->stages[number] = g;
    return g;
}

/* The signature before anything else, and all that can be refused before anything is written. */
static int begin(struct intake *in, const char *text, size_t length, const uint8_t *signature,
                 struct error *e)
{
    if (check_signature(in, text, length, signature, e) < 0 ||
        contents_parse(text, length, &in->contents, e) < 0)
        return -1;
    if (volumes_plan(&in->contents, length, &in->volumes, e) < 0) {
        if (e)
            e->kind = ERR_CORRUPT; /* a bundle's mistake, not the user's */
        return -1;
    }
    digest_of(DIGEST_SHA256, text, length, &in->id);
    in->is_ours = true;
    in->was_whole = digest_equals(&in->id, &in->options->whole);
    if (in->was_whole)
        return 0;
    if (admit_check_budget(&in->contents, in->options->budget_bytes, e) < 0 ||
        check_absent(in, e) < 0)
        return -1;
    in->stage =
        in->options->rehearsal ? open_rehearsal(in, e) : stage_open(in->store, &in->id, true, e);
    if (!in->stage || intake_check_space(in, bytes_to_come(in), e) < 0)
        return -1;
    return 0;
}

/* --- the head of a volume --------------------------------------------------------------------- */

static int expect_header(struct input *file, const char *name, uint64_t size_bytes, struct error *e)
{
    autostr struct str header = {0};
    tar_add_header(&header, name, size_bytes);
    return input_expect(file, header.text, header.length, e);
}

static int expect_zeros(struct input *file, size_t count, struct error *e)
{
    static const char zeros[TAR_END_BYTES];
    return input_expect(file, zeros, count, e);
}

/* A member whose size only its own header tells: name is checked, then the header as a whole. */
static int read_member(struct input *file, const char *block, const char *name, size_t max,
                       char **text, size_t *length, struct error *e)
{
    uint64_t size_bytes = 0;
    autostr struct str header = {0};
    for (size_t i = SIZE_AT; i < SIZE_AT + 11; i++)
        size_bytes = size_bytes * 8 + (uint64_t)((block[i] - '0') & 7);
    if (size_bytes > max)
        return error_set(e, ERR_CORRUPT, "%s is too large", name);
    tar_add_header(&header, name, size_bytes);
    if (memcmp(header.text, block, TAR_BLOCK) != 0)
        return error_set(e, ERR_CORRUPT, "is not as it was written: no %s in its place", name);
    autofree char *bytes = alloc_zero(size_bytes + 1);
    if (input_read(file, bytes, size_bytes, e) < 0 ||
        expect_zeros(file, tar_padding(size_bytes), e) < 0)
        return -1;
    *text = take(bytes);
    *length = size_bytes;
    return 0;
}

/* "2 of 3\n" exactly, of as many as there must be. */
static int which_volume(const struct intake *in, const char *text, size_t *volume, struct error *e)
{
    char wanted[VOLUME_TEXT_MAX];
    unsigned long number = strtoul(text, NULL, 10);
    if (number >= 1 && number <= in->volumes.count &&
        strcmp(volume_text(number - 1, in->volumes.count, wanted), text) == 0) {
        *volume = number - 1;
        return 0;
    }
    return error_set(e, ERR_CORRUPT, "is no volume of a bundle with %zu", in->volumes.count);
}

static int read_head(struct intake *in, struct input *file, size_t *volume, struct error *e)
{
    char block[TAR_BLOCK];
    autofree char *text = NULL, *signature = NULL, *which = NULL;
    size_t length = 0, signature_length = 0, which_length = 0;
    if (input_read(file, block, sizeof block, e) < 0 ||
        read_member(file, block, MEMBER_CONTENTS, CONTENTS_MAX_BYTES, &text, &length, e) < 0 ||
        input_read(file, block, sizeof block, e) < 0)
        return -1;
    if (memcmp(block, MEMBER_SIGNATURE, sizeof MEMBER_SIGNATURE) == 0) {
        if (read_member(file, block, MEMBER_SIGNATURE, SIGNATURE_BYTES, &signature,
                        &signature_length, e) < 0 ||
            input_read(file, block, sizeof block, e) < 0)
            return -1;
        if (signature_length != SIGNATURE_BYTES)
            return error_set(e, ERR_CORRUPT, "has a signature of another length");
    }
    if (begin(in, text, length, (const uint8_t *)signature, e) < 0 ||
        read_member(file, block, MEMBER_VOLUME, VOLUME_TEXT_MAX - 1, &which, &which_length, e) < 0)
        return -1;
    return which_volume(in, which, volume, e);
}

static int read_file_member(struct input *file, const struct contents_file *f, struct error *e)
{
    struct digest counted;
    autofree char *bytes = alloc_zero(f->size_bytes + 1);
    if (expect_header(file, f->name, f->size_bytes, e) < 0 ||
        input_read(file, bytes, f->size_bytes, e) < 0)
        return -1;
    digest_of((enum digest_algorithm)f->digest.algorithm, bytes, f->size_bytes, &counted);
    if (!digest_equals(&counted, &f->digest))
        return error_set(e, ERR_CORRUPT, "%s was changed", f->name);
    return expect_zeros(file, tar_padding(f->size_bytes), e);
}

/* --- blobs ------------------------------------------------------------------------------------ */

/* to: called with each part of the content. */
static int read_content(struct intake *in, struct input *file, uint64_t size_bytes,
                        int (*to)(void *cls, const void *bytes, size_t length, struct error *e),
                        void *cls, struct error *e)
{
    while (size_bytes) {
        size_t n = size_bytes < INTAKE_READ_BYTES ? (size_t)size_bytes : INTAKE_READ_BYTES;
        if (input_read(file, in->buffer, n, e) < 0 || to(cls, in->buffer, n, e) < 0)
            return -1;
        size_bytes -= n;
    }
    return 0;
}

static int to_arrival(void *cls, const void *bytes, size_t length, struct error *e)
{
    return arrival_write(cls, bytes, length, e);
}

static int take_blob(struct intake *in, struct input *file, const struct digest *d,
                     uint64_t size_bytes, struct error *e)
{
    struct arrival a;
    uint64_t staged = 0;
    bool is_staged = stage_has(in->stage, d, &staged) && staged == size_bytes;
    if (is_staged && input_skip(file, size_bytes))
        return 0;
    bool is_wanted = !is_staged && intake_wants(in, d) && !intake_is_held(in, d, size_bytes);
    if (arrival_begin(&a, is_wanted ? in->stage : NULL, (enum digest_algorithm)d->algorithm, e) < 0)
        return -1;
    if (read_content(in, file, size_bytes, to_arrival, &a, e) < 0) {
        arrival_drop(&a);
        return -1;
    }
    return arrival_end(&a, d, NULL, e);
}

struct placed {
    int fd; /* -1: not wanted */
    uint64_t at;
};

static int to_place(void *cls, const void *bytes, size_t length, struct error *e)
{
    struct placed *p = cls;
    if (p->fd >= 0 && file_write_all(p->fd, bytes, length, p->at, e) < 0)
        return -1;
    p->at += length;
    return 0;
}

/* Nobody can tell whether a piece is right: all of them together are hashed in the end, so a dry
 * run writes them too. */
static int take_piece(struct intake *in, struct input *file, const struct piece *p, struct error *e)
{
    const struct digest *d = &in->contents.blobs.digests.items[p->blob];
    bool is_wanted = !stage_has(in->stage, d, NULL);
    autoclose int fd = is_wanted ? stage_part(in->stage, d, e) : -1;
    struct placed to = {.fd = fd, .at = p->offset};
    if ((is_wanted && fd < 0) || read_content(in, file, p->length_bytes, to_place, &to, e) < 0)
        return -1;
    return fd >= 0 ? file_sync(fd, e) : 0;
}

static int take_blobs(struct intake *in, struct input *file, size_t volume, struct error *e)
{
    for (size_t i = volumes_first(&in->volumes, volume); i < in->volumes.ends[volume]; i++) {
        char name[MEMBER_NAME_MAX];
        const struct piece *p = &in->volumes.pieces[i];
        piece_name(&in->contents, p, name);
        if (expect_header(file, name, p->length_bytes, e) < 0)
            return -1;
        int result = p->is_whole ? take_blob(in, file, &in->contents.blobs.digests.items[p->blob],
                                             p->length_bytes, e)
                                 : take_piece(in, file, p, e);
        if (result < 0 || expect_zeros(file, tar_padding(p->length_bytes), e) < 0)
            return -1;
    }
    return 0;
}

static int expect_end(struct input *file, struct error *e)
{
    char more;
    if (expect_zeros(file, TAR_END_BYTES, e) < 0)
        return -1;
    ssize_t n = input_read_some(file, &more, 1, e);
    return n < 1 ? (int)n : error_set(e, ERR_CORRUPT, "goes on after its end");
}

static int take_volume(struct intake *in, struct input *file, size_t volume, struct error *e)
{
    for (size_t i = 0; i < in->contents.file_count; i++)
        if (read_file_member(file, &in->contents.files[i], e) < 0)
            return -1;
    if (take_blobs(in, file, volume, e) < 0 || expect_end(file, e) < 0)
        return -1;
    return 0;
}

/* --- after a refusal, after the last ---------------------------------------------------------- */

/* What other volumes brought stays: they were good. */
static void forget_volume(struct intake *in, size_t volume)
{
    for (size_t i = volumes_first(&in->volumes, volume); i < in->volumes.ends[volume]; i++)
        if (in->volumes.pieces[i].is_whole)
            stage_forget(in->stage, &in->contents.blobs.digests.items[in->volumes.pieces[i].blob]);
}

static int join_pieces(struct intake *in, struct error *e)
{
    const struct blob_list *l = &in->contents.blobs;
    for (size_t i = 0; i < in->volumes.piece_count; i++) {
        const struct piece *p = &in->volumes.pieces[i];
        const struct digest *d = &l->digests.items[p->blob];
        if (p->is_whole || p->offset > 0)
            continue;
        if (stage_join(in->stage, d, l->sizes[p->blob], e) < 0)
            return -1;
    }
    return 0;
}

static bool are_all_marked(const struct intake *in)
{
    for (size_t i = 0; i < in->volumes.count; i++)
        if (!stage_is_marked(in->stage, i))
            return false;
    return true;
}

int strict_take(struct intake *in, const char *path, struct error *e)
{
    size_t volume = 0;
    autoinput struct input *file = input_open(path, e);
    if (!file || read_head(in, file, &volume, e) < 0)
        return -1;
    if (in->was_whole)
        return 0;
    if (!stage_is_marked(in->stage, volume)) {
        if (take_volume(in, file, volume, e) < 0) {
            forget_volume(in, volume);
            return -1;
        }
        if (stage_mark(in->stage, volume, e) < 0)
            return -1;
    }
    return are_all_marked(in) ? join_pieces(in, e) : 0;
}

/* --- a folder --------------------------------------------------------------------------------- */

static int take_blob_file(struct intake *in, int folder, size_t number, struct error *e)
{
    char name[MEMBER_NAME_MAX];
    struct arrival a;
    const struct digest *d = &in->contents.blobs.digests.items[number];
    uint64_t at = 0, size_bytes = in->contents.blobs.sizes[number];
    piece_name(&in->contents, &(struct piece){.blob = number, .is_whole = true}, name);
    int opened = file_open_regular(folder, name, e);
    if (opened < 0)
        return opened == -1 ? -1 : error_set(e, ERR_CORRUPT, "%s is not there", name);
    autoclose int fd = opened;
    bool is_wanted =
        intake_wants(in, d) && !intake_is_held(in, d, size_bytes) && !stage_has(in->stage, d, NULL);
    if (arrival_begin(&a, is_wanted ? in->stage : NULL, (enum digest_algorithm)d->algorithm, e) < 0)
        return -1;
    for (;;) {
        ssize_t n = at > size_bytes ? 0 : file_read_some(fd, in->buffer, INTAKE_READ_BYTES, at, e);
        if (n < 0 || (n > 0 && arrival_write(&a, in->buffer, (size_t)n, e) < 0)) {
            arrival_drop(&a);
            return -1;
        }
        if (n == 0)
            return arrival_end(&a, d, NULL, e);
        at += (uint64_t)n;
    }
}

/* Other tools go by these; what is not a bundle's at all is nobody's. */
static int check_small_files(const struct intake *in, int folder, struct error *e)
{
    for (size_t i = 0; i < in->contents.file_count; i++) {
        struct digest counted;
        size_t length = 0;
        autofree char *bytes = NULL;
        const struct contents_file *f = &in->contents.files[i];
        int got = file_read(folder, f->name, CONTENTS_FILE_MAX_BYTES, &bytes, &length, e);
        if (got < 0)
            return -1;
        if (got == 1)
            digest_of((enum digest_algorithm)f->digest.algorithm, bytes, length, &counted);
        if (got == 0 || !digest_equals(&counted, &f->digest))
            return error_set(e, ERR_CORRUPT, "%s was changed, or is not there", f->name);
    }
    return 0;
}

int strict_take_folder(struct intake *in, int folder, struct error *e)
{
    autofree char *text = NULL, *signature = NULL;
    size_t length = 0, signature_length = 0;
    if (file_read(folder, MEMBER_CONTENTS, CONTENTS_MAX_BYTES, &text, &length, e) < 1)
        return -1;
    int got =
        file_read(folder, MEMBER_SIGNATURE, SIGNATURE_BYTES, &signature, &signature_length, e);
    if (got < 0 || (got == 1 && signature_length != SIGNATURE_BYTES))
        return error_set(e, ERR_CORRUPT, "has a signature of another length");
    if (begin(in, text, length, (const uint8_t *)signature, e) < 0)
        return -1;
    if (in->was_whole)
        return 0;
    if (check_small_files(in, folder, e) < 0)
        return -1;
    for (size_t i = 0; i < in->contents.blobs.digests.count; i++)
        if (take_blob_file(in, folder, i, e) < 0) {
            forget_volume(in, 0);
            return -1;
        }
    return stage_mark(in->stage, 0, e);
}
