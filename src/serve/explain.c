/* SPDX-License-Identifier: Apache-2.0
 * GET /api/explain?image=NAME: why a pull of that image goes as it does. Dials nobody. */
#include "mirror/explain.h"

#include "base/error.h"
#include "base/str.h"
#include "fetch/survey.h"
#include "oci/reference.h"
#include "serve/reply.h"
#include "serve/request.h"
#include "upstream/upstream.h"

enum { NAME_MAX_BYTES = 1024 };

static int read_image(struct request *r, struct reference *out, struct error *e)
{
    char name[NAME_MAX_BYTES];
    if (!request_argument_decoded(r, "image", name, sizeof name))
        return error_set(e, ERR_NAME_INVALID, "which image? /api/explain?image=NAME");
    return reference_parse(slice_of(name), out, e);
}

static enum MHD_Result tell(struct request *r, const struct reference *image)
{
    struct error e;
    struct str out = {0};
    struct explain_request q = {.image = image,
                                .upstreams = r->desk->upstreams,
                                .reader = r->desk->reader,
                                .survey = r->answer ? r->answer->survey : NULL};
    if (mirror_explain(r->desk->mirror, &q, &out, &e) == 0)
        return reply_text(r, 200, "application/json", &out);
    str_fini(&out);
    return reply_error(r, &e);
}

enum MHD_Result explain_handle(struct request *r)
{
    struct error e;
    struct reference image = {0};
    char digest[DIGEST_TEXT_MAX];
    if (read_image(r, &image, &e) < 0)
        return reply_error(r, &e);
    struct upstream *u = upstreams_find(r->desk->upstreams, slice_of(image.registry));
    const struct survey_request q = {
        .upstreams = r->desk->upstreams,
        .only = u,
        .repository = image.repository,
        .is_content = true,
        .digest = image.digest.algorithm ? digest_print(&image.digest, digest) : NULL};
    if (!r->answer && u && !upstream_is_only_held(u))
        r->answer = mirror_survey(r->desk->mirror, &q);
    if (r->answer && request_await_answer(r))
        return MHD_YES;
    if (r->answer && r->answer->kind == ANSWER_ERROR)
        return reply_error(r, &r->answer->error);
    return tell(r, &image);
}
