/* SPDX-License-Identifier: Apache-2.0
 * tranship receipt: what is held here, for export --since on the other side. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "bundle/receipt.h"
#include "cache/store.h"
#include "cli/arguments.h"
#include "cli/cli.h"

static int receipt(const char *data, const char *path, struct error *e)
{
    char site[256] = "";
    autostr struct str text = {0};
    gethostname(site, sizeof site - 1);
    struct store *s = store_open_beside(data, e);
    if (!s)
        return -1;
    int result = receipt_print(s, site, &text, e);
    store_close(s);
    if (result == 0 && path)
        return file_replace(AT_FDCWD, path, text.text, text.length, true, e);
    if (result == 0 && (fputs(str_text(&text), stdout) < 0 || fflush(stdout) != 0))
        return error_errno(e, "write the receipt");
    return result;
}

int cmd_receipt(int argc, char **argv)
{
    struct error e = {0};
    const char *path = NULL;
    const struct argument table[] = {
        {"-o", "FILE", "write it there; without, to standard output", &path, NULL}};
    struct arguments a = {.usage = "receipt [-o FILE]\n\nSays what this site holds, so that "
                                   "export --since FILE on the other side leaves it out.",
                          .table = table,
                          .count = 1};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    if (rest > 0)
        error_set(&e, ERR_USAGE, "receipt takes no image");
    if (rest != 0)
        return arguments_fail(&e);
    autofree char *data = arguments_data(&a);
    if (!data)
        return 2;
    return receipt(data, path, &e) < 0 ? arguments_fail(&e) : 0;
}
