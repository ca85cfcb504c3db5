/* SPDX-License-Identifier: Apache-2.0
 * Names of architectures: the kernel's on one side, those of images on the other. */
#include "bundle/platform.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/str.h"
#include "oci/manifest.h"

int platforms_read(const char *text, struct platforms *out, struct error *e)
{
    size_t count = 0;
    autofree char *own = alloc_string(text);
    struct platforms found = {0};
    for (char *at = strcmp(own, "all") == 0 ? NULL : own; at;) {
        char *comma = strchr(at, ',');
        if (comma)
            *comma = 0;
        if (count == PLATFORMS_MAX || !strchr(at, '/'))
            return error_set(e, ERR_USAGE, "--platform takes linux/amd64,linux/arm64/v8 or all");
        found.list[count++] = at;
        at = comma ? comma + 1 : NULL;
    }
    found.text = take(own);
    *out = found;
    return 0;
}

void platforms_fini(struct platforms *p)
{
    free(p->text);
    *p = (struct platforms){0};
}

const char *const *platforms_list(const struct platforms *p)
{
    return p->list[0] ? p->list : NULL;
}

bool platform_is(const char *platform, const char *wanted)
{
    size_t n = strlen(wanted);
    return strncmp(platform, wanted, n) == 0 && (platform[n] == 0 || platform[n] == '/');
}

bool platform_is_wanted(const char *platform, const char *const *wanted)
{
    if (!wanted || !*platform || strcmp(platform, NO_PLATFORM) == 0)
        return true;
    for (; *wanted; wanted++)
        if (platform_is(platform, *wanted))
            return true;
    return false;
}

static bool has_platform(const struct manifest *m, const char *wanted)
{
    for (size_t i = 0; i < m->child_count; i++)
        if (m->children[i].kind == CHILD_MANIFEST &&
            (!m->children[i].platform[0] || platform_is(m->children[i].platform, wanted)))
            return true;
    return false;
}

static int tell_platforms(const struct manifest *m, const char *wanted, struct error *e)
{
    autostr struct str has = {0};
    for (size_t i = 0; i < m->child_count; i++)
        if (m->children[i].kind == CHILD_MANIFEST &&
            strcmp(m->children[i].platform, NO_PLATFORM) != 0)
            str_format(&has, "%s%s", has.length > 0 ? ", " : "", m->children[i].platform);
    return error_set(e, ERR_NOT_FOUND, "there is none for %s; it is for %.200s (--platform)",
                     wanted, str_text(&has));
}

int platform_check(const struct manifest *index, const char *const *wanted, struct error *e)
{
    for (; wanted && *wanted; wanted++)
        if (!has_platform(index, *wanted))
            return tell_platforms(index, *wanted, e);
    return 0;
}

const char *platform_of_machine(const char *machine)
{
    static const struct {
        const char *machine, *platform;
    } known[] = {
        {"x86_64", "linux/amd64"},    {"aarch64", "linux/arm64"},
        {"armv7l", "linux/arm/v7"},   {"armv6l", "linux/arm/v6"},
        {"i686", "linux/386"},        {"i386", "linux/386"},
        {"ppc64le", "linux/ppc64le"}, {"s390x", "linux/s390x"},
        {"riscv64", "linux/riscv64"}, {"loongarch64", "linux/loong64"},
        {"mips64", "linux/mips64le"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(machine, known[i].machine) == 0)
            return known[i].platform;
    return "linux/amd64";
}

const char *platform_here(void)
{
    struct utsname u;
    return uname(&u) == 0 ? platform_of_machine(u.machine) : "linux/amd64";
}
