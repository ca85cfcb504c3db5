/* SPDX-License-Identifier: Apache-2.0
 * Preloaded before the mirror: makes its calls on files under one folder fail as a bad disk would,
 * and its clock jump. What fails, and from which call on, stands in a file that the test maps too
 * (FAILING_SWITCHES), so that one process serves many cases. FAILING_FOLDER is the folder's real
 * path. Everything real is a system call of its own, so that no loader and no sanitizer is in the
 * way. test_failing_calls.py knows the same layout and the same order of kinds. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum kind {
    KIND_SYNC,
    KIND_WRITE,
    KIND_RENAME,
    KIND_CREATE, /* an open that may make the file, mkdir */
    KIND_OPEN,   /* any other open */
    KIND_MAP,
    KIND_UNLINK,
    KIND_TRUNCATE,
    KIND_RESERVE,
    KIND_LINK,
    KIND_READ,
    KIND_STAT,
    KIND_LIST,
};

struct switches {
    _Atomic uint32_t kinds; /* which fail: bits; 0 none */
    _Atomic int32_t reason; /* the errno */
    _Atomic uint64_t first; /* from which of those calls on, counted from 1 */
    _Atomic uint64_t many;  /* and how many of them */
    _Atomic uint64_t seen;  /* such calls until now */
    _Atomic int64_t clock_ahead_s;
};

static struct switches *switches;
static char folder[PATH_MAX];
static size_t folder_length;

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("FAILING_SWITCHES"), *at = getenv("FAILING_FOLDER");
    int fd = name ? (int)syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd < 0 || !at)
        return;
    folder_length = (size_t)snprintf(folder, sizeof(folder), "%s", at);
    void *map = (void *)syscall(SYS_mmap, NULL, sizeof(*switches), PROT_READ | PROT_WRITE,
                                MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map != MAP_FAILED)
        switches = map;
}

/* --- which calls ------------------------------------------------------------------------------ */

static bool is_below(const char *path)
{
    return strncmp(path, folder, folder_length) == 0 &&
           (path[folder_length] == '/' || path[folder_length] == '\0');
}

static bool is_fd_below(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof(path) - 1);
    if (length <= 0)
        return false;
    path[length] = '\0';
    return is_below(path);
}

/* The mirror opens by folder and name, SQLite by absolute path. */
static bool is_path_below(int at, const char *path)
{
    return *path == '/' ? is_below(path) : at != AT_FDCWD && is_fd_below(at);
}

static bool is_armed(enum kind kind)
{
    return switches && atomic_load(&switches->kinds) & 1u << kind;
}

/* Whether this call, which is on one of the folder's files, fails: then errno is set. */
static bool has_come(void)
{
    uint64_t n = atomic_fetch_add(&switches->seen, 1) + 1, first = atomic_load(&switches->first);
    if (!first || n < first || n - first >= atomic_load(&switches->many))
        return false;
    errno = atomic_load(&switches->reason);
    return true;
}

static bool fails(enum kind kind, int fd)
{
    return is_armed(kind) && is_fd_below(fd) && has_come();
}

static bool fails_at(enum kind kind, int at, const char *path)
{
    return is_armed(kind) && is_path_below(at, path) && has_come();
}

/* --- the calls -------------------------------------------------------------------------------- */

#define CALL(kind, fd, ...) (fails(kind, fd) ? -1 : syscall(__VA_ARGS__))
#define CALL_AT(kind, at, path, ...) (fails_at(kind, at, path) ? -1 : syscall(__VA_ARGS__))
#define SAME(type, name, parameters, of)                                                           \
    type name parameters __attribute__((alias(#of)))

int fsync(int fd)
{
    return (int)CALL(KIND_SYNC, fd, SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return (int)CALL(KIND_SYNC, fd, SYS_fdatasync, fd);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    return CALL(KIND_WRITE, fd, SYS_write, fd, bytes, length);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    return CALL(KIND_WRITE, fd, SYS_pwrite64, fd, bytes, length, offset);
}
SAME(ssize_t, pwrite64, (int, const void *, size_t, off64_t), pwrite);

ssize_t read(int fd, void *into, size_t max)
{
    return CALL(KIND_READ, fd, SYS_read, fd, into, max);
}

ssize_t pread(int fd, void *into, size_t max, off_t offset)
{
    return CALL(KIND_READ, fd, SYS_pread64, fd, into, max, offset);
}
SAME(ssize_t, pread64, (int, void *, size_t, off64_t), pread);

/* As the C library calls it when it was told to check sizes. */
ssize_t __pread_chk(int fd, void *into, size_t max, off_t offset, size_t room);
ssize_t __pread_chk(int fd, void *into, size_t max, off_t offset, size_t room)
{
    return max <= room ? pread(fd, into, max, offset) : -1;
}
SAME(ssize_t, __pread64_chk, (int, void *, size_t, off64_t, size_t), __pread_chk);

ssize_t __read_chk(int fd, void *into, size_t max, size_t room);
ssize_t __read_chk(int fd, void *into, size_t max, size_t room)
{
    return max <= room ? read(fd, into, max) : -1;
}

int renameat(int from, const char *old, int to, const char *new)
{
    return (int)CALL_AT(KIND_RENAME, to, new, SYS_renameat2, from, old, to, new, 0);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    return (int)CALL_AT(KIND_RENAME, to, new, SYS_renameat2, from, old, to, new, flags);
}

int rename(const char *old, const char *new)
{
    return renameat(AT_FDCWD, old, AT_FDCWD, new);
}

int openat(int at, const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return (int)CALL_AT(flags & O_CREAT ? KIND_CREATE : KIND_OPEN, at, path, SYS_openat, at, path,
                        flags, mode);
}
SAME(int, openat64, (int, const char *, int, ...), openat);

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return openat(AT_FDCWD, path, flags, mode);
}
SAME(int, open64, (const char *, int, ...), open);

int mkdirat(int at, const char *path, mode_t mode)
{
    return (int)CALL_AT(KIND_CREATE, at, path, SYS_mkdirat, at, path, mode);
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

void *mmap(void *hint, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (fd >= 0 && fails(KIND_MAP, fd))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, hint, length, protection, flags, fd, offset);
}
SAME(void *, mmap64, (void *, size_t, int, int, int, off64_t), mmap);

int unlinkat(int at, const char *path, int flags)
{
    return (int)CALL_AT(KIND_UNLINK, at, path, SYS_unlinkat, at, path, flags);
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int ftruncate(int fd, off_t length)
{
    return (int)CALL(KIND_TRUNCATE, fd, SYS_ftruncate, fd, length);
}
SAME(int, ftruncate64, (int, off64_t), ftruncate);

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    return (int)CALL(KIND_RESERVE, fd, SYS_fallocate, fd, mode, offset, length);
}
SAME(int, fallocate64, (int, int, off64_t, off64_t), fallocate);

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    return (int)CALL_AT(KIND_LINK, to, new, SYS_linkat, from, old, to, new, flags);
}

int link(const char *old, const char *new)
{
    return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

#ifdef SYS_newfstatat
int fstatat(int at, const char *path, struct stat *st, int flags)
{
    return (int)CALL_AT(KIND_STAT, at, path, SYS_newfstatat, at, path, st, flags);
}
SAME(int, fstatat64, (int, const char *, struct stat64 *, int), fstatat);

int fstat(int fd, struct stat *st)
{
    return (int)CALL(KIND_STAT, fd, SYS_fstat, fd, st);
}
SAME(int, fstat64, (int, struct stat64 *), fstat);

int stat(const char *path, struct stat *st)
{
    return fstatat(AT_FDCWD, path, st, 0);
}
SAME(int, stat64, (const char *, struct stat64 *), stat);

int lstat(const char *path, struct stat *st)
{
    return fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}
SAME(int, lstat64, (const char *, struct stat64 *), lstat);
#endif

/* The one that only the C library can do. */
struct dirent *readdir(DIR *dir)
{
    static _Atomic uintptr_t real;
    if (!atomic_load(&real))
        atomic_store(&real, (uintptr_t)dlsym(RTLD_NEXT, "readdir"));
    if (fails(KIND_LIST, dirfd(dir)))
        return NULL;
    return ((struct dirent * (*)(DIR *))atomic_load(&real))(dir);
}

/* --- the clock -------------------------------------------------------------------------------- */

static time_t ahead(void)
{
    return switches ? (time_t)atomic_load(&switches->clock_ahead_s) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += ahead();
    return result;
}

int gettimeofday(struct timeval *now, void *zone)
{
    int result = (int)syscall(SYS_gettimeofday, now, zone);
    if (result == 0)
        now->tv_sec += ahead();
    return result;
}

time_t time(time_t *now)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (now)
        *now = t.tv_sec;
    return t.tv_sec;
}
