/* SPDX-License-Identifier: Apache-2.0
 * Allocate or end the process. Every size that a stranger can choose is bounded before it comes
 * here, so running out means that the machine has none left. Results are zeroed and freed with
 * free(). Any thread. */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>

void *alloc_zero(size_t bytes) __attribute__((malloc, returns_nonnull));
void *alloc_array(size_t count, size_t each_bytes)
    __attribute__((malloc, returns_nonnull)); /* checks overflow */
void *alloc_grow(void *old, size_t count, size_t each_bytes)
    __attribute__((returns_nonnull)); /* realloc; tail not zeroed */
/* align: a power of two; for what must not share a cache line. */
void *alloc_aligned(size_t align, size_t bytes) __attribute__((malloc, returns_nonnull));
char *alloc_string(const char *text) __attribute__((malloc, returns_nonnull)); /* strdup */
char *alloc_bytes(const void *from, size_t bytes)
    __attribute__((malloc, returns_nonnull)); /* copy + a 0 byte */
char *alloc_format(const char *format, ...)
    __attribute__((malloc, returns_nonnull, format(printf, 1, 2)));

#endif
