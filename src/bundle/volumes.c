/* SPDX-License-Identifier: Apache-2.0
 * First fit in the order of the list: a blob goes into this volume if it fits, else into the next;
 * one that fits into none fills this one and goes on in the next. Import plans the same anew:
 * changing this changes the format. */
#include "bundle/volumes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "bundle/contents.h"
#include "bundle/tar.h"
#include "oci/signature.h"

#define LEAST_BYTES ((uint64_t)1 << 20)        /* for blobs, in every volume */
#define HEADER_BYTES ((uint64_t)3 * TAR_BLOCK) /* of a piece: its name wants pax */

struct planning {
    const struct contents *contents;
    struct volumes v;
    uint64_t room_bytes; /* of an empty volume */
    uint64_t left_bytes; /* of this one */
};

/* With room for a signature, whether there is one or not: the plan does not depend on it. */
static uint64_t head_bytes(const struct contents *c, size_t contents_bytes)
{
    uint64_t sum = tar_member_bytes(MEMBER_CONTENTS, contents_bytes) +
                   tar_member_bytes(MEMBER_SIGNATURE, SIGNATURE_BYTES) +
                   tar_member_bytes(MEMBER_VOLUME, 1) + TAR_END_BYTES;
    for (size_t i = 0; i < c->file_count; i++)
        sum += tar_member_bytes(c->files[i].name, c->files[i].size_bytes);
    return sum;
}

static void end_volume(struct planning *p)
{
    struct volumes *v = &p->v;
    if ((v->count & (v->count - 1)) == 0)
        v->ends = alloc_grow(v->ends, v->count ? v->count * 2 : 1, sizeof *v->ends);
    v->ends[v->count++] = v->piece_count;
    p->left_bytes = p->room_bytes;
}

static void add_piece(struct planning *p, const struct piece *piece)
{
    struct volumes *v = &p->v;
    if ((v->piece_count & (v->piece_count - 1)) == 0)
        v->pieces =
            alloc_grow(v->pieces, v->piece_count ? v->piece_count * 2 : 1, sizeof *v->pieces);
    v->pieces[v->piece_count++] = *piece;
}

static void add_in_pieces(struct planning *p, size_t blob, uint64_t size_bytes)
{
    for (uint64_t offset = 0; offset < size_bytes && p->v.count < VOLUMES_MAX;) {
        if (p->left_bytes < HEADER_BYTES + LEAST_BYTES / 2)
            end_volume(p);
        uint64_t length = (p->left_bytes - HEADER_BYTES) / TAR_BLOCK * TAR_BLOCK;
        if (length > size_bytes - offset)
            length = size_bytes - offset;
        add_piece(p, &(struct piece){.blob = blob, .offset = offset, .length_bytes = length});
        p->left_bytes -= HEADER_BYTES + length + tar_padding(length);
        offset += length;
    }
}

static void add_blob(struct planning *p, size_t blob)
{
    char name[MEMBER_NAME_MAX];
    uint64_t size_bytes = p->contents->blobs.sizes[blob];
    struct piece whole = {.blob = blob, .length_bytes = size_bytes, .is_whole = true};
    uint64_t wanted = tar_member_bytes(piece_name(p->contents, &whole, name), size_bytes);
    if (wanted > p->room_bytes) {
        add_in_pieces(p, blob, size_bytes);
        return;
    }
    if (wanted > p->left_bytes)
        end_volume(p);
    add_piece(p, &whole);
    p->left_bytes -= wanted;
}

int volumes_plan(const struct contents *c, size_t contents_bytes, struct volumes *out,
                 struct error *e)
{
    struct planning p = {.contents = c, .room_bytes = UINT64_MAX};
    if (c->volume_bytes) {
        uint64_t head = head_bytes(c, contents_bytes);
        if (c->volume_bytes < head + LEAST_BYTES)
            return error_set(e, ERR_USAGE, "a volume needs %" PRIu64 " bytes at least here",
                             head + LEAST_BYTES);
        p.room_bytes = c->volume_bytes - head;
    }
    p.left_bytes = p.room_bytes;
    for (size_t i = 0; i < c->blobs.digests.count && p.v.count < VOLUMES_MAX; i++)
        add_blob(&p, i);
    end_volume(&p);
    if (p.v.count >= VOLUMES_MAX) {
        volumes_fini(&p.v);
        return error_set(e, ERR_USAGE, "there would be more than %u volumes", VOLUMES_MAX - 1);
    }
    *out = p.v;
    return 0;
}

void volumes_fini(struct volumes *v)
{
    free(v->pieces);
    free(v->ends);
    *v = (struct volumes){0};
}

size_t volumes_first(const struct volumes *v, size_t volume)
{
    return volume ? v->ends[volume - 1] : 0;
}

const char *piece_name(const struct contents *c, const struct piece *p, char out[MEMBER_NAME_MAX])
{
    char hex[DIGEST_HEX_MAX];
    const struct digest *d = &c->blobs.digests.items[p->blob];
    digest_hex(d, hex);
    if (p->is_whole)
        snprintf(out, MEMBER_NAME_MAX, "blobs/%s/%s", digest_algorithm_name(d), hex);
    else
        snprintf(out, MEMBER_NAME_MAX, "tranship/pieces/%s/%s/%" PRIu64, digest_algorithm_name(d),
                 hex, p->offset);
    return out;
}

const char *volume_text(size_t volume, size_t count, char out[32])
{
    snprintf(out, 32, "%zu of %zu\n", volume + 1, count);
    return out;
}
