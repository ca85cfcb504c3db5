/* SPDX-License-Identifier: Apache-2.0
 * Linux only, as the rest. */
#include "base/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/metrics.h"
#include "base/str.h"

struct figures {
    int64_t threads, started_ticks, virtual_bytes, resident_bytes;
};

/* proc(5): the name of the program stands in brackets and may hold anything. */
static bool read_figures(struct figures *f)
{
    char text[2048];
    int64_t pages;
    autoclose int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length <= 0)
        return false;
    text[length] = 0;
    const char *after = strrchr(text, ')');
    if (!after || sscanf(after,
                         ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                         "%" SCNd64 " %*d %" SCNd64 " %" SCNd64 " %" SCNd64,
                         &f->threads, &f->started_ticks, &f->virtual_bytes, &pages) != 4)
        return false;
    f->resident_bytes = pages * sysconf(_SC_PAGESIZE);
    return true;
}

/* The same each time: the two clocks it comes from are read one after the other. */
static int64_t started_ms(const struct figures *f)
{
    static _Atomic int64_t known_ms;
    if (known_ms == 0) {
        struct timespec wall, up;
        int64_t none = 0;
        clock_gettime(CLOCK_REALTIME, &wall);
        clock_gettime(CLOCK_BOOTTIME, &up);
        int64_t booted_ms =
            (wall.tv_sec - up.tv_sec) * 1000 + (wall.tv_nsec - up.tv_nsec) / 1000000;
        atomic_compare_exchange_strong(&known_ms, &none,
                                       booted_ms + f->started_ticks * 1000 / sysconf(_SC_CLK_TCK));
    }
    return known_ms;
}

static int64_t count_descriptors(void)
{
    int64_t count = -3; /* ".", ".." and the folder's own */
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return -1;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static int64_t us_of(const struct timeval *t)
{
    return (int64_t)t->tv_sec * 1000000 + t->tv_usec;
}

void process_print(struct str *out)
{
    struct rusage used;
    struct rlimit limit;
    struct figures f;
    int64_t descriptors = count_descriptors();
    if (getrusage(RUSAGE_SELF, &used) == 0)
        metrics_print_single(out, FAMILY_process_cpu_seconds_total,
                             us_of(&used.ru_utime) + us_of(&used.ru_stime), 6);
    if (descriptors >= 0)
        metrics_print_single(out, FAMILY_process_open_fds, descriptors, 0);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metrics_print_single(out, FAMILY_process_max_fds, (int64_t)limit.rlim_cur, 0);
    if (!read_figures(&f))
        return;
    metrics_print_single(out, FAMILY_process_resident_memory_bytes, f.resident_bytes, 0);
    metrics_print_single(out, FAMILY_process_virtual_memory_bytes, f.virtual_bytes, 0);
    metrics_print_single(out, FAMILY_process_threads, f.threads, 0);
    metrics_print_single(out, FAMILY_process_start_time_seconds, started_ms(&f), 3);
}
