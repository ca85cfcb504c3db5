/* SPDX-License-Identifier: Apache-2.0
 * A configuration file: whatever it is, it is taken or told of in lines of one form, and what is
 * taken makes a world. */
#include <ctype.h>
#include <string.h>

#include "app/config.h"
#include "app/mistakes.h"
#include "app/world.h"
#include "fuzz.h"
#include "upstream/upstream.h"

static void check_lines(const struct mistakes *m)
{
    must(m->count <= MISTAKES_MAX && (m->left_off == 0 || m->count == MISTAKES_MAX));
    for (size_t i = 0; i < m->count; i++) {
        must(strncmp(m->all[i], "file:", 5) == 0 && isdigit((unsigned char)m->all[i][5]));
        for (const char *c = m->all[i]; *c; c++)
            must((unsigned char)*c >= ' ' && *c != 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct config_input in = {
        .path = "file", .text = {size ? (const char *)data : "", size}, .is_file_only = true};
    struct config c = {0};
    struct mistakes m = {0};
    int result = config_load(&c, &in, &m);
    must((result == 0) == (m.count == 0));
    check_lines(&m);
    if (result == 0) {
        struct upstreams *u = world_build(&c, false, &m);
        must(c.registry_count > 0);
        must((u == NULL) == (m.count > 0));
        check_lines(&m);
        if (u) {
            must(upstreams_default(u) && !upstreams_at(u, c.registry_count));
            upstreams_free(u);
        }
    }
    config_fini(&c);
    mistakes_fini(&m);
    return 0;
}
