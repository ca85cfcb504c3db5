/* SPDX-License-Identifier: Apache-2.0
 * Byte ranges: Range, Content-Range and If-Range (RFC 9110 §14). Pure, any thread. */
#ifndef OCI_RANGE_H
#define OCI_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define RANGE_MAX_COUNT 1024 /* containers/storage sends up to that many */

struct range {
    uint64_t first, last; /* inclusive */
};

enum range_result {
    RANGE_IGNORE,        /* absent, malformed, another unit, too many: send the whole */
    RANGE_SATISFIABLE,   /* ranges filled, in the order asked, never merged; unsatisfiable members
                            left out */
    RANGE_UNSATISFIABLE, /* 416 */
};

struct range_set {
    size_t count;
    struct range *ranges; /* owned; range_set_fini */
};

enum range_result range_parse(struct slice header, uint64_t size_bytes, struct range_set *out);
void range_set_fini(struct range_set *s);
uint64_t range_set_bytes(const struct range_set *s); /* sum of lengths, saturating */

/* "bytes 5-9/10" or an unknown total as UINT64_MAX, or the unsatisfied form (is_unsatisfied). false
 * if malformed. */
struct content_range {
    bool is_unsatisfied;
    uint64_t first, last, total;
};
bool range_parse_content(struct slice header, struct content_range *out);

/* Does If-Range let the range stand? true if absent or a strong entity tag equal to etag (quotes
 * included). Dates never match. */
bool range_if_range(struct slice header, const char *etag);
/* Does If-None-Match name this digest: quoted, weak, bare, in a list, or "*"? */
bool range_none_match(struct slice header, const char *digest);

#endif
