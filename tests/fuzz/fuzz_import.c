/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a file to import: our own format, a layout, an archive of docker save, packed or
 * not. Nothing is admitted; what is refused leaves nothing behind. */
#include <dirent.h>
#include <string.h>

#include "base/error.h"
#include "bundle/import.h"
#include "folder.h"
#include "fuzz.h"

static unsigned count_names(const char *folder, const char *name)
{
    char path[200];
    unsigned count = 0;
    snprintf(path, sizeof path, "%s/data/%s", folder, name);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char folder[200];
    struct error e = {0};
    struct import_result result = {0};
    const char *path = fuzz_file(data, size);
    snprintf(folder, sizeof folder, "%s/data", fuzz_folder());
    struct rehearsal rehearsal = {0};
    const struct import_options o = {.data = folder, .budget_bytes = -1, .rehearsal = &rehearsal};
    if (import_take(&o, path, &result, &e) < 0)
        must(e.kind != ERR_NONE && e.text[0] && result.images == 0);
    else
        must(!result.is_whole || result.new_blobs <= result.blobs);
    rehearsal_fini(&rehearsal);
    must(count_names(fuzz_folder(), "blobs/sha256") == 0);
    must(count_names(fuzz_folder(), "import") == 0);
    return 0;
}
