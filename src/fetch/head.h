/* SPDX-License-Identifier: Apache-2.0
 * The headers of an upstream's answer, read line by line into what is wanted of them. A stranger
 * wrote them: whatever they are, each field is in its bounds. Pure but for the wall clock, which a
 * date in Retry-After is compared with; any thread, fuzzed. */
#ifndef FETCH_HEAD_H
#define FETCH_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "oci/challenge.h"
#include "oci/range.h"

struct error;

/* What an answer's headers say. Strings are "" when absent; too long ones are "" too. */
struct head {
    int status;
    int64_t content_length; /* -1: not stated */
    char content_type[256];
    char content_encoding[64];
    char digest[160]; /* Docker-Content-Digest */
    char location[4096];
    char link[2048];
    struct content_range content_range; /* meaningful if has_content_range */
    bool has_content_range;
    bool is_chunked;
    int retry_after_s;                  /* seconds, from a number or a date; 0: absent */
    int64_t rate_limit, rate_remaining; /* -1: not stated */
    struct challenge challenge;
    char primary_ip[64];   /* the address really connected to ("" through a proxy) */
    int64_t connect_ms;    /* TCP and TLS; 0: the connection was there already */
    int64_t first_byte_ms; /* from when it began to these headers */
};

void head_init(struct head *h);
/* One line, with or without its line end; what is no header, or none that is wanted, is passed
 * over. -1 (ERR_UPSTREAM) if it is a length that makes no sense: no number, or another than before
 * (RFC 9112 section 6.3). */
int head_read_line(struct head *h, struct slice line, struct error *e);
/* No more lines come. */
void head_end(struct head *h);

#endif
