/* SPDX-License-Identifier: Apache-2.0
 * Answers: every one carries X-Request-Id and the API version; errors are registry error bodies.
 * Inside of serve/; the connection's thread. Each queues one response and notes it for the log. */
#ifndef SERVE_REPLY_H
#define SERVE_REPLY_H

#include <microhttpd.h>

#include "oci/range.h"

struct answer;
struct content;
struct error;
struct flow;
struct request;
struct str;

enum MHD_Result reply_error(struct request *r, const struct error *e);
/* A body made here: the text is taken out of it. */
enum MHD_Result reply_text(struct request *r, unsigned status, const char *content_type,
                           struct str *text);
/* Text plus one more header (name NULL: none). */
enum MHD_Result reply_listing(struct request *r, const struct answer *a, const char *content_type,
                              const char *link, int is_filtered, struct str *text);
/* Manifest or blob from what is held, what is coming, or (HEAD) what its descriptor says; ranges,
 * conditions and all. */
enum MHD_Result reply_object(struct request *r, const struct answer *a);

#endif
