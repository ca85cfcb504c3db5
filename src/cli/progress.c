/* SPDX-License-Identifier: Apache-2.0
 * A line that is too long loses its end, a name its beginning: what tells images apart is there. */
#include "cli/progress.h"

#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "bundle/bring.h"
#include "cli/show.h"

enum { COLUMNS_MIN = 40, ROWS_MIN = 2, BAR_MAX = 24, NAME_MAX_COLUMNS = 36, DIGEST_SHOWN = 12 };

static void add_name(const struct bring_layer *l, unsigned width, struct str *out)
{
    const struct reference *n = &l->image->name;
    char digest[DIGEST_TEXT_MAX];
    autostr struct str name = {0};
    str_format(&name, "%s%s%s", n->repository, n->tag[0] ? ":" : "", n->tag);
    size_t from = name.length > width ? name.length - width : 0;
    const char *hex = strchr(digest_print(&l->digest, digest), ':') + 1;
    str_format(out, "%-*s %.*s ", (int)width, str_text(&name) + from, DIGEST_SHOWN, hex);
}

static void add_bar(uint64_t present, uint64_t size, unsigned width, struct str *out)
{
    unsigned full = size ? (unsigned)((double)present / (double)size * width) : width;
    str_add_char(out, '[');
    for (unsigned i = 0; i < width; i++)
        str_add_char(out, i < full ? '=' : i == full ? '>' : ' ');
    str_add(out, "] ");
}

static void add_numbers(const struct bring_layer *l, struct str *out)
{
    uint64_t size = l->size_bytes < 0 ? 0 : (uint64_t)l->size_bytes;
    show_bytes(out, (int64_t)l->present_bytes);
    if (size > 0) {
        str_add(out, " of ");
        show_bytes(out, l->size_bytes);
    }
    if (l->bytes_per_s == 0)
        return;
    str_add(out, ", ");
    show_bytes(out, (int64_t)l->bytes_per_s);
    str_add(out, "/s");
    if (size > l->present_bytes) {
        uint64_t seconds = (size - l->present_bytes) / l->bytes_per_s;
        str_add(out, ", ");
        show_duration(out, (int64_t)seconds * 1000);
        str_add(out, " left");
    }
}

static void add_layer(const struct bring_layer *l, unsigned columns, struct str *out)
{
    unsigned name = columns / 3 < NAME_MAX_COLUMNS ? columns / 3 : NAME_MAX_COLUMNS;
    uint64_t size = l->size_bytes < 0 ? 0 : (uint64_t)l->size_bytes,
             present = l->present_bytes > size && size ? size : l->present_bytes;
    add_name(l, name, out);
    if (columns >= 80)
        add_bar(present, size, columns >= 110 ? BAR_MAX : BAR_MAX / 2, out);
    add_numbers(l, out);
}

static void add_sum(const struct bring_look *l, struct str *out)
{
    str_format(out, "%zu of %zu images, %u of %u blobs: ", l->images_done, l->image_count,
               l->blobs_done, l->blob_count);
    uint64_t coming = 0;
    for (size_t i = 0; i < l->layer_count; i++)
        coming += l->layers[i].present_bytes;
    show_bytes(out, (int64_t)(l->came_bytes + coming));
    str_add(out, " came, ");
    show_bytes(out, (int64_t)l->held_bytes);
    str_add(out, " held");
}

static void cut(struct str *line, unsigned columns)
{
    if (line->length >= columns) {
        line->length = columns - 1;
        line->text[line->length] = 0;
    }
}

unsigned progress_render(const struct bring_look *l, unsigned columns, unsigned rows,
                         struct str *out)
{
    unsigned count = 0;
    if (columns < COLUMNS_MIN)
        columns = COLUMNS_MIN;
    if (rows < ROWS_MIN)
        rows = ROWS_MIN;
    for (size_t i = 0; i < l->layer_count && count + 1 < rows; i++, count++) {
        autostr struct str line = {0};
        add_layer(&l->layers[i], columns, &line);
        cut(&line, columns);
        str_format(out, "%s\n", str_text(&line));
    }
    autostr struct str sum = {0};
    add_sum(l, &sum);
    cut(&sum, columns);
    str_format(out, "%s\n", str_text(&sum));
    return count + 1;
}
