/* SPDX-License-Identifier: Apache-2.0
 * Which proxy stands between us and a URL. libcurl decides the same in silence; we must know, as
 * only an address that we dial ourselves can be checked. Any thread. Inside of fetch/. */
#ifndef FETCH_PROXY_H
#define FETCH_PROXY_H

#include <stdbool.h>

struct url_origin;

/* By HTTPS_PROXY or HTTP_PROXY, else ALL_PROXY, unless NO_PROXY names the host; of each the name in
 * lower case comes first. Borrowed from the environment; NULL: straight there. */
const char *proxy_for(const struct url_origin *o);
/* NO_PROXY's list, parted by commas or spaces: a name (its subdomains too; a dot or *. in front
 * changes nothing), an address, a range such as 10.0.0.0/8, each with :port if only that one is
 * meant, or * for everything. */
bool proxy_is_excepted(const char *list, const struct url_origin *o);

#endif
