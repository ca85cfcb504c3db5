/* SPDX-License-Identifier: Apache-2.0
 * Where an answer sends us on to, and whether we go there. Pure, any thread, fuzzed. Inside of
 * fetch/. */
#ifndef FETCH_REDIRECT_H
#define FETCH_REDIRECT_H

#include <stdbool.h>

struct error;

enum { REDIRECT_MAX_HOPS = 10 };

bool redirect_is(int status);
/* The absolute URL that a Location, relative or not, means at that URL. Owned by the caller. NULL
 * (ERR_UPSTREAM, without the URL: its query may be a secret) if it is missing, not http or https,
 * names a user, or leaves https for http. */
char *redirect_resolve(const char *url, const char *location, struct error *e);
/* The path of the next page, to be appended to that source's URL as `path` was, which brought an
 * answer with that Link (RFC 8288). Owned by the caller. NULL if there is no next page, or not at
 * this source: a cursor stays between it and us. */
char *redirect_next_page(const char *source_url, const char *path, const char *link);

#endif
