/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as what a bundle says of itself, and as a receipt. */
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/contents.h"
#include "bundle/receipt.h"
#include "bundle/tar.h"
#include "bundle/volumes.h"
#include "fuzz.h"

/* What was parsed prints as a text that means the same. */
static void check_again(const struct contents *c)
{
    struct error e = {0};
    autostr struct str once = {0}, twice = {0};
    autocontents struct contents again = {0};
    contents_print(c, &once);
    must(contents_parse(once.text, once.length, &again, &e) == 0);
    contents_print(&again, &twice);
    must(once.length == twice.length && memcmp(once.text, twice.text, once.length) == 0);
}

/* Every blob is in it once, from its first byte to its last, and no volume is too large. */
static void check_plan(const struct contents *c, size_t length)
{
    struct error e = {0};
    autovolumes struct volumes v = {0};
    if (volumes_plan(c, length, &v, &e) < 0)
        return;
    size_t blob = 0;
    uint64_t offset = 0;
    for (size_t volume = 0; volume < v.count; volume++) {
        uint64_t sum = TAR_END_BYTES;
        for (size_t i = volumes_first(&v, volume); i < v.ends[volume]; i++) {
            char name[MEMBER_NAME_MAX];
            const struct piece *p = &v.pieces[i];
            must(p->blob == blob && p->offset == offset);
            must(!p->is_whole || p->length_bytes == c->blobs.sizes[blob]);
            sum += tar_member_bytes(piece_name(c, p, name), p->length_bytes);
            offset += p->length_bytes;
            if (offset == c->blobs.sizes[blob]) {
                blob++;
                offset = 0;
            }
        }
        must(!c->volume_bytes || sum <= c->volume_bytes);
    }
    must(blob == c->blobs.digests.count && v.ends[v.count - 1] == v.piece_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = {0};
    autocontents struct contents c = {0};
    autoreceipt struct receipt r = {0};
    if (contents_parse((const char *)data, size, &c, &e) == 0) {
        check_again(&c);
        check_plan(&c, size);
    } else {
        must(e.kind == ERR_CORRUPT && e.text[0]);
    }
    if (receipt_parse((const char *)data, size, &r, &e) == 0)
        must(r.site && r.created_at && r.digest.algorithm == DIGEST_SHA256);
    return 0;
}
