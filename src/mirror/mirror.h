/* SPDX-License-Identifier: Apache-2.0
 * The heart: what a client asks becomes an answer that is held, in flight, or begun. mirror_ask
 * runs on the handler's thread and never waits for the network; what has to be asked upstream goes
 * on on the fetch thread (question.c). */
#ifndef MIRROR_MIRROR_H
#define MIRROR_MIRROR_H

#include <stdbool.h>
#include <stddef.h>

#include "cache/prune.h"
#include "mirror/ahead.h"
#include "mirror/answer.h"
#include "mirror/freshness.h"
#include "oci/digest.h"
#include "oci/reference.h"

struct admittance;
struct content;
struct error;
struct explain_request;
struct fetcher;
struct index;
struct index_reader;
struct ledger;
struct mirror;
struct scrub;
struct store;
struct str;
struct survey_request;
struct upstream;
struct upstreams;

struct mirror_options {
    struct upstreams *upstreams; /* all that are configured; what an import brings is added */
    struct freshness_rules rules;
    struct ahead_options ahead;
    size_t memory_bytes; /* of small objects and what is known of names */
    /* A step of having what an import staged held: 1 more is to do, 0 done, -1; on the ledger's
     * thread. NULL: never asked. */
    int (*admit)(struct admittance *a, struct store *s, struct index *x, struct error *e);
    struct scrub *scrub; /* who looks again at what is suspected; NULL: nobody */
};

/* An import that is being admitted. */
struct admittance {
    const char *id;       /* hex: the name of its folder */
    bool is_pruning;      /* what it does not name goes, save for pins */
    struct pruned pruned; /* out */
    bool has_changed;     /* out: names mean something else since this step */
    void (*gone)(void *cls, const struct digest *d); /* of each blob that goes; or NULL */
    void *cls;
    void *progress; /* of who admits: NULL at the first step, and after the last */
};

/* Borrows all; they outlive it. */
struct mirror *mirror_new(const struct mirror_options *o, struct store *s, struct ledger *l,
                          struct fetcher *f);
/* After the fetcher and the ledger ended. */
void mirror_free(struct mirror *m);

enum ask_kind { ASK_MANIFEST, ASK_BLOB, ASK_TAGS, ASK_REFERRERS };

struct ask {
    enum ask_kind kind;
    bool is_head;
    bool goes_alone; /* of an image's manifest: nothing begins to come ahead of it */
    struct upstream *upstream;
    char repository[REPOSITORY_MAX + 1]; /* as the upstream names it */
    char tag[TAG_MAX + 1];               /* "" if by digest */
    struct digest digest;                /* of the manifest, the blob or the subject */
};

/* One reference to an answer, done or not yet. *joined: somebody else had begun what it waits for.
 */
struct answer *mirror_ask(struct mirror *m, struct index_reader *r, const struct ask *a,
                          bool *joined);

/* The file of mapped content, opened for reading: the caller's to close. -1 if it is gone since, or
 * if there are no descriptors; its mapping then is all there is. */
int mirror_open_file(struct mirror *m, const struct content *c);

/* What is remembered of sources (fetch/survey.h), as an answer: one reference, done once the fetch
 * thread has copied it. */
struct answer *mirror_survey(struct mirror *m, const struct survey_request *r);
/* As explain_write (mirror/explain.h), with this mirror's rules and store. */
int mirror_explain(struct mirror *m, struct explain_request *r, struct str *out, struct error *e);

/* Is nobody ever dialled? */
bool mirror_is_offline(const struct mirror *m);
/* Has the names of registries of which something was imported answered from what is held. At the
 * start; admitting does so itself. */
int mirror_learn_imported(struct mirror *m, struct index *x, struct error *e);

/* Visits the blobs on their way in, at most max. Their flows are borrowed during the call. */
void mirror_each_flow(struct mirror *m, size_t max,
                      void (*visit)(struct flow *f, const char *owner, void *cls), void *cls);

/* Has the ledger admit what was staged under that id, and forgets what was remembered of names. One
 * reference; ANSWER_DONE (what was pruned in it) or ANSWER_ERROR. */
struct answer *mirror_admit(struct mirror *m, struct slice id, bool is_pruning);
/* Has what is held under that digest hashed again, and set aside if it is wrong. One reference;
 * ANSWER_DONE, whose items are "right", "wrong" or "absent" in quotes, or ANSWER_ERROR. */
struct answer *mirror_recheck(struct mirror *m, const struct digest *d);
/* Somebody waits for an admission, for settling, or for a command: only the ledger wakes him. */
bool mirror_is_working(struct mirror *m);

/* How often manifests were served from here goes to the index: once a minute, and before the ledger
 * stops. */
void mirror_note_hits(struct mirror *m);
/* Refuses whatever is asked from now on: a step of shutting down (stopping the fetcher then fails
 * what is in flight). */
void mirror_stop(struct mirror *m);

#endif
