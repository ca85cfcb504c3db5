/* SPDX-License-Identifier: Apache-2.0
 * By Linux' file system user (setfsuid(2)): only new files take it, the door of a running server
 * still sees root. Leaving root's takes file capabilities out of effect; they are put back. */
#include "base/owner.h"

#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void restore_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &head, sets) != 0)
        return;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        sets[i].effective = sets[i].permitted;
    syscall(SYS_capset, &head, sets);
}

void owner_become(const char *folder)
{
    struct stat st;
    if (geteuid() != 0 || stat(folder, &st) < 0 || st.st_uid == 0)
        return;
    setfsgid(st.st_gid);
    setfsuid(st.st_uid);
    restore_capabilities();
}

void owner_return(void)
{
    setfsuid(geteuid());
    setfsgid(getegid());
}
