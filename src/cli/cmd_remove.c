/* SPDX-License-Identifier: Apache-2.0
 * tranship remove: what is asked for is forgotten, and fetched again when somebody asks for it. */
#include <inttypes.h>

#include "base/json.h"
#include "base/str.h"
#include "cache/removal.h"
#include "cli/cli.h"
#include "cli/keeping.h"
#include "cli/show.h"

static void add_line(const struct json_t *image, struct str *out)
{
    str_format(out, "removed  %s; ", show_text(image, "image"));
    if (json_get(image, "kept_by")) {
        str_add(out, "what it meant stays, as ");
        show_foreign(out, show_text(image, "kept_by"));
        str_add(out, " has it too\n");
        return;
    }
    str_add(out, "freed ");
    show_bytes(out, show_number(image, "freed"));
    str_format(out, " in %" PRId64 " blobs\n", show_number(image, "blobs"));
}

int cmd_remove(int argc, char **argv)
{
    static const struct keeping_verb v = {
        "remove",
        "remove IMAGE|DIGEST…\n\nForgets a tag (alpine:3), an image (alpine@sha256:…) or a blob "
        "(sha256:…). What nothing else here names\ngoes with it. Who asks for it next gets it from "
        "the upstream again.",
        removal_work, add_line, true};
    return keeping_command(&v, argc, argv);
}
