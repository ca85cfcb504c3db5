/* SPDX-License-Identifier: Apache-2.0
 * What ledger.c and ledger_post.c share. Inside of cache/. */
#ifndef CACHE_LEDGER_INSIDE_H
#define CACHE_LEDGER_INSIDE_H

#include <pthread.h>

#include "base/error.h"
#include "base/mailbox.h"
#include "cache/evict.h"
#include "cache/ledger.h"
#include "oci/digest.h"
#include "oci/manifest.h"

enum entry_kind {
    ENTRY_PUBLISH,
    ENTRY_MANIFEST,
    ENTRY_HOLD,
    ENTRY_TAG,
    ENTRY_REMOVE_TAG,
    ENTRY_LISTING,
    ENTRY_TOUCH,
    ENTRY_HITS,
    ENTRY_PIN,
    ENTRY_REMOVE_BLOB,
    ENTRY_SET_ASIDE,
    ENTRY_REMOVE_PARTIAL,
    ENTRY_LISTEN,
    ENTRY_MAKE_ROOM,
    ENTRY_EVICT,
    ENTRY_RUN,
};

struct entry {
    struct letter letter;
    enum entry_kind kind;
    int fd;             /* PUBLISH: borrowed; SET_ASIDE: its own, or -1 */
    int64_t size_bytes; /* PUBLISH, HOLD; -1 unknown; HITS: how many */
    int64_t now_s;      /* when it was posted: that is when it was so */
    struct digest digest;
    char *registry, *repository; /* NULL: of none */
    char *name; /* TAG, REMOVE_TAG, MANIFEST (or NULL): the tag; LISTING: the kind; PIN: the
                   reference */
    char *key;  /* LISTING */
    char *body; /* LISTING, MANIFEST */
    size_t length;
    struct manifest manifest;       /* MANIFEST: a copy */
    struct evict_listener listener; /* LISTEN */
    ledger_work work;               /* RUN */
    struct evict_order *order;      /* EVICT */
    bool is_remembered;             /* SET_ASIDE */
    ledger_done done;               /* or NULL */
    void *cls;
    struct error error; /* ERR_NONE while all went well */
};

struct ledger {
    struct store *store;
    struct index *x;
    struct mailbox *mailbox;
    struct evict *evict;
    int64_t mend_at_ms;  /* when the index is looked at next */
    struct error broken; /* what was last told of it, if it was that it is broken */
    int64_t
        compare_at_ms; /* when files and rows are compared, as they may differ; 0: they do not */
    pthread_t thread;
};

void ledger_entry_free(struct entry *n);

#endif
