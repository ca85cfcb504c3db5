/* SPDX-License-Identifier: Apache-2.0
 * A body that is copied piece by piece: a connection following a flow, several ranges of held
 * content with the multipart text between them, or held content that GnuTLS is to encrypt. Suspends
 * the connection where the flow has no bytes yet; a flow that fails cuts the connection short, so
 * that no client takes half an answer for a whole. Inside of serve/. */
#ifndef SERVE_TAIL_H
#define SERVE_TAIL_H

#include <microhttpd.h>

#include "oci/range.h"

struct content;
struct flow;
struct request;

/* Either content or flow is not NULL; a reference is taken. Ranges in order; boundary NULL: one
 * range, no multipart text. *length: of the whole body. The response is the caller's to queue and
 * destroy. */
struct MHD_Response *tail_response(struct request *r, struct content *content, struct flow *flow,
                                   const struct range_set *ranges, uint64_t size_bytes,
                                   const char *content_type, const char *boundary,
                                   uint64_t *length);

#endif
