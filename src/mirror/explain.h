/* SPDX-License-Identifier: Apache-2.0
 * Why a pull of one image would go as it will: which registry is meant and whether it may be
 * pulled, who would be asked, how fresh its tag is, what is held and what is missing. Reads the
 * index and the files, asks nobody, changes nothing, knows no secret. Any thread; waits for the
 * disk. */
#ifndef MIRROR_EXPLAIN_H
#define MIRROR_EXPLAIN_H

struct error;
struct freshness_rules;
struct index_reader;
struct reference;
struct store;
struct str;
struct survey;
struct upstreams;

struct explain_request {
    const struct reference *image;
    const struct upstreams *upstreams;
    const struct freshness_rules *rules; /* the mirror's; a registry's own ttl goes before */
    struct store *store;                 /* NULL, and so reader: there is no data folder yet */
    struct index_reader *reader;
    const struct survey *survey; /* of that registry alone, for the content; NULL: nobody runs */
};

/* Appends one JSON object. 0, or -1 with the index's error. A registry that is not configured is an
 * answer too ("is_known": false), and a repository that may not be pulled ("is_allowed": false).
 * What a manifest names is told where it would be served under that name without asking. */
int explain_write(const struct explain_request *r, struct str *out, struct error *e);

#endif
