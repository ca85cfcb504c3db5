/* SPDX-License-Identifier: Apache-2.0
 * What uthash promises, as plain lists, for analyzers alone: they lose themselves in its buckets and
 * its hash function, and then take what is in a table for leaked. */
#ifndef ANALYZE_UTHASH_H
#define ANALYZE_UTHASH_H

#include <stddef.h>

typedef struct UT_hash_handle {
    struct {
        unsigned num_items;
    } *tbl;
    void *next;
    const void *key;
    unsigned keylen;
} UT_hash_handle;

typedef struct UT_hash_bucket {
    void *hh_head;
    unsigned count, expand_mult;
} UT_hash_bucket;

int analyze_is_other(const void *handle, const void *key, size_t length);

#define HASH_FIND(hh, head, at, length, out)                                                       \
    for ((out) = (head); (out) && analyze_is_other(&(out)->hh, at, length);)                       \
    (out) = (out)->hh.next
#define HASH_FIND_STR(head, at, out) HASH_FIND(hh, head, at, 0, out)
#define HASH_FIND_BYHASHVALUE(hh, head, at, length, value, out)                                    \
    HASH_FIND(hh, head, at, (length) + (value), out)
#define HASH_ADD_KEYPTR(hh, head, at, length, add)                                                 \
    ((add)->hh.key = (at), (add)->hh.keylen = (unsigned)(length), (add)->hh.next = (head),         \
     (head) = (add))
#define HASH_ADD_KEYPTR_BYHASHVALUE(hh, head, at, length, value, add)                              \
    HASH_ADD_KEYPTR(hh, head, at, (length) + (value), add)
#define HASH_ADD(hh, head, field, length, add)                                                     \
    HASH_ADD_KEYPTR(hh, head, &(add)->field, length, add)
#define HASH_DELETE(hh, head, del)                                                                 \
    do {                                                                                           \
        __typeof__(head) *analyze_at = &(head);                                                    \
        while (*analyze_at != (del))                                                               \
            analyze_at = (__typeof__(head) *)(void *)&(*analyze_at)->hh.next;                      \
        *analyze_at = (del)->hh.next;                                                              \
    } while (0)
#define HASH_DEL(head, del) HASH_DELETE(hh, head, del)
#define HASH_CLEAR(hh, head) ((head) = NULL)
#define HASH_COUNT(head) ((head) ? (head)->hh.tbl->num_items : 0)
#define HASH_ITER(hh, head, one, after)                                                            \
    for ((one) = (head), (after) = (one) ? (one)->hh.next : NULL; (one);                           \
         (one) = (after), (after) = (one) ? (one)->hh.next : NULL)

#endif
