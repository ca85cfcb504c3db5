/* SPDX-License-Identifier: Apache-2.0
 * What a site holds, as a small file for the other side (docs/air-gap.md). */
#ifndef BUNDLE_RECEIPT_H
#define BUNDLE_RECEIPT_H

#include <stddef.h>

#include "oci/digests.h"

#define RECEIPT_MAX_BYTES (64u * 1024 * 1024) /* some 800,000 blobs */
#define RECEIPT_SCHEMA "tranship-receipt/1"

struct error;
struct store;
struct str;

struct receipt {
    char *site, *created_at;
    struct digest digest; /* of the text */
    struct digests blobs;
};

/* Refuses (ERR_CORRUPT) rubbish and other schemas. 0 or -1; receipt_fini after 0 only. */
int receipt_parse(const char *bytes, size_t length, struct receipt *out, struct error *e);
void receipt_fini(struct receipt *r);
#define autoreceipt __attribute__((cleanup(receipt_fini)))

/* Appends the text for what the store holds. Waits for the disk. */
int receipt_print(struct store *s, const char *site, struct str *out, struct error *e);

#endif
