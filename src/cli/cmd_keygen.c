/* SPDX-License-Identifier: Apache-2.0
 * tranship keygen: a key pair for bundles. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/arguments.h"
#include "cli/cli.h"
#include "oci/signature.h"

static int write_new(const char *path, mode_t mode, const char *text, struct error *e)
{
    autoclose int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0 && errno == EEXIST)
        return error_set(e, ERR_IO, "%s is there already: a key is never overwritten", path);
    if (fd < 0)
        return error_errno(e, "create %s", path);
    if (file_write_all(fd, text, strlen(text), 0, e) < 0 || file_sync(fd, e) < 0) {
        unlink(path);
        return error_prefix(e, "%s", path);
    }
    return 0;
}

/* Both or neither. */
static int keygen(const char *name, struct error *e)
{
    autofree char *private = NULL, *public = NULL;
    autofree char *public_path = alloc_format("%s.pub", name);
    if (signature_generate(&private, &public, e) < 0 || write_new(public_path, 0644, public, e) < 0)
        return -1;
    if (write_new(name, 0600, private, e) < 0) {
        unlink(public_path);
        return -1;
    }
    printf("%s: keep it here, export --sign takes it\n%s: import --verify takes it\n", name,
           public_path);
    return 0;
}

int cmd_keygen(int argc, char **argv)
{
    struct error e = {0};
    const char *name = NULL;
    const struct argument table[] = {
        {"-o", "NAME", "the private key NAME (mode 0600), the public one NAME.pub", &name, NULL}};
    struct arguments a = {.usage = "keygen -o NAME\n\nMakes an Ed25519 key pair to sign bundles "
                                   "with and to verify them.",
                          .table = table,
                          .count = 1};
    int rest = arguments_read(&a, argc, argv, &e);
    if (rest == -2)
        return 0;
    if (rest > 0 || (rest == 0 && !name))
        error_set(&e, ERR_USAGE, "keygen takes -o NAME and nothing else");
    if (rest != 0 || !name || keygen(name, &e) < 0)
        return arguments_fail(&e);
    return 0;
}
