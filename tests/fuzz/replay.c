/* SPDX-License-Identifier: Apache-2.0
 * Runs the fuzz target that it is linked with over every file of the folders given, without a
 * fuzzer: so that what was once found stays found, with any compiler. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "fuzz.h"

enum { INPUT_MAX_BYTES = 16 * 1024 * 1024 };

static int replay_file(int folder, const char *name)
{
    struct error e;
    size_t length = 0;
    autofree char *bytes = NULL;
    if (file_read(folder, name, INPUT_MAX_BYTES, &bytes, &length, &e) != 1) {
        fprintf(stderr, "%s: cannot be read\n", name);
        return -1;
    }
    /* Exactly as long as the input, so that a sanitizer sees a read past its end. */
    autofree uint8_t *exact = malloc(length ? length : 1);
    must(exact);
    memcpy(exact, bytes, length);
    LLVMFuzzerTestOneInput(exact, length);
    return 0;
}

/* How many inputs were run, or -1. */
static int replay_folder(const char *path)
{
    int count = 0;
    DIR *folder = opendir(path);
    if (!folder) {
        perror(path);
        return -1;
    }
    for (struct dirent *entry; count >= 0 && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        count = replay_file(dirfd(folder), entry->d_name) < 0 ? -1 : count + 1;
    }
    closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int count = replay_folder(argv[i]);
        if (count < 0)
            return 1;
        total += count;
    }
    printf("%s: %d inputs\n", argv[0], total);
    return total == 0;
}
