/* SPDX-License-Identifier: Apache-2.0
 * tranship pin, tranship unpin: which names keep their content whatever the budget says. */
#include "base/json.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/keeping.h"
#include "cli/show.h"

static void add_pinned(const struct json_t *image, struct str *out)
{
    str_format(out, "pinned   %s%s%s\n", show_text(image, "image"),
               json_get_bool(image, "is_changed") ? "" : ", as before",
               json_get_bool(image, "is_held") ? "" : "; not held yet");
}

static void add_unpinned(const struct json_t *image, struct str *out)
{
    str_format(out, "unpinned %s\n", show_text(image, "image"));
}

int cmd_pin(int argc, char **argv)
{
    static const struct keeping_verb v = {
        "pin",
        "pin IMAGE…\n\nWhat that name means, now and whenever it moves, is not evicted, whatever "
        "the budget. Nothing else\nabout it is frozen, and it need not be held yet.",
        keep_pin, add_pinned, false};
    return keeping_command(&v, argc, argv);
}

int cmd_unpin(int argc, char **argv)
{
    static const struct keeping_verb v = {
        "unpin", "unpin IMAGE…\n\nTakes a pin back. The image stays until its space is wanted.",
        keep_unpin, add_unpinned, false};
    return keeping_command(&v, argc, argv);
}
