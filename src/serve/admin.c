/* SPDX-License-Identifier: Apache-2.0
 * What stands beside the registry API: the ping and health. Nothing here changes anything. */
#include "base/error.h"
#include "base/log.h"
#include "base/str.h"
#include "cache/index.h"
#include "serve/reply.h"
#include "serve/request.h"

/* Upstreams do not matter: what is held can be served without any. Anybody may ask this: files are
 * named in the log alone. */
static enum MHD_Result reply_ready(struct request *r)
{
    struct str body = {0};
    struct error why, e;
    if (__atomic_load_n(r->desk->is_stopping, __ATOMIC_ACQUIRE)) {
        error_set(&e, ERR_STOPPING, "the mirror is stopping");
        return reply_error(r, &e);
    }
    if (index_check(r->desk->reader, &why) < 0) {
        log_event(LOG_LEVEL_ERROR, "the index cannot be read", LOG_S("request", r->id),
                  LOG_S("error", why.text), LOG_END);
        error_set(&e, ERR_BUSY, "the index of what is held cannot be read; the log says why");
        return reply_error(r, &e);
    }
    str_add(&body, "ready\n");
    return reply_text(r, 200, "text/plain", &body);
}

enum MHD_Result admin_handle(struct request *r)
{
    struct str body = {0};
    struct error e;
    switch (r->route.kind) {
    case ROUTE_BASE:
        str_add(&body, "{}");
        return reply_text(r, 200, "application/json", &body);
    case ROUTE_V1_PING:
        str_add(&body, "{\"standalone\":true}");
        return reply_text(r, 200, "application/json", &body);
    case ROUTE_HEALTHZ:
        str_add(&body, "ok\n");
        return reply_text(r, 200, "text/plain", &body);
    case ROUTE_READYZ:
        return reply_ready(r);
    default:
        error_set(&e, ERR_NOT_FOUND,
                  "there is nothing at this path; the registry API begins at /v2/");
        return reply_error(r, &e);
    }
}
