/* SPDX-License-Identifier: Apache-2.0
 * Files, always relative to an open folder, never following a link in the last component. These
 * wait for the disk. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct error;

/* Makes the folder and its parents (mode 0755); an existing one is fine. 0 or -1. */
int file_make_path(const char *path, struct error *e);
/* Opens a folder (O_DIRECTORY|O_CLOEXEC), made first if make. The descriptor or -1. */
int file_open_folder(int at, const char *name, bool make, struct error *e);
int file_write_all(int fd, const void *bytes, size_t length, uint64_t offset,
                   struct error *e); /* pwrite, all of it */
/* Asks for room on the disk for bytes that will come, the size unchanged. Only a hint: where it
 * cannot be had, writing will tell. */
void file_reserve(int fd, uint64_t offset, uint64_t length);
/* The first hole (nothing was ever written there) between from and end, as far as the file system
 * tells. */
bool file_find_hole(int fd, uint64_t from, uint64_t end, uint64_t *first, uint64_t *after);
/* pread until max or the end of the file. Count or -1. */
ssize_t file_read_some(int fd, void *into, size_t max, uint64_t offset, struct error *e);
/* To read. A regular file's descriptor; -1 for anything else (ERR_CORRUPT) and on failure; -2, and
 * e untouched, if there is none. */
int file_open_regular(int at, const char *name, struct error *e);
/* A whole file of at most max bytes, owned, 0-terminated. 1 read, 0 no such file, -1 failed (too
 * large: ERR_CORRUPT). */
int file_read(int at, const char *name, size_t max, char **bytes, size_t *length, struct error *e);
/* The names in a folder, from the first one on; closedir, or autoclosedir DIR *dir = …. NULL and
 * errno if it is none. */
DIR *file_list(int at, const char *name);
static inline void file_auto_closedir_(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}
#define autoclosedir __attribute__((cleanup(file_auto_closedir_)))
int file_sync(int fd, struct error *e); /* fsync, files and folders */
/* Replaces name as a whole: temporary beside it, fsync if durable, rename, fsync of the folder if
 * durable. */
int file_replace(int at, const char *name, const void *bytes, size_t length, bool durable,
                 struct error *e);

#endif
