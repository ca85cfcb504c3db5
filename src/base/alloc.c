/* SPDX-License-Identifier: Apache-2.0
 * Allocate or end the process. The end is a plain exit, not an abort: a core would hold
 * credentials. */
#include "base/alloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static _Noreturn void out_of_memory(void)
{
    static const char text[] = "tranship: out of memory\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)written;
    _exit(EX_OSERR);
}

static size_t product(size_t count, size_t each_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each_bytes, &bytes) || bytes > PTRDIFF_MAX)
        out_of_memory();
    return bytes ? bytes : 1; /* malloc(0) may give NULL */
}

void *alloc_zero(size_t bytes)
{
    return alloc_array(1, bytes);
}

void *alloc_array(size_t count, size_t each_bytes)
{
    void *p = calloc(1, product(count, each_bytes));
    if (!p)
        out_of_memory();
    return p;
}

void *alloc_grow(void *old, size_t count, size_t each_bytes)
{
    void *p = realloc(old, product(count, each_bytes));
    if (!p)
        out_of_memory();
    return p;
}

void *alloc_aligned(size_t align, size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, align, product(1, bytes)) != 0)
        out_of_memory();
    return memset(p, 0, bytes);
}

char *alloc_string(const char *text)
{
    return alloc_bytes(text, strlen(text));
}

char *alloc_bytes(const void *from, size_t bytes)
{
    if (bytes >= PTRDIFF_MAX)
        out_of_memory();
    char *p = malloc(bytes + 1);
    if (!p)
        out_of_memory();
    if (bytes)
        memcpy(p, from, bytes);
    p[bytes] = '\0';
    return p;
}

char *alloc_format(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        out_of_memory();
    return text;
}
