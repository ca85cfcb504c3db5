/* SPDX-License-Identifier: Apache-2.0
 * Reading and hashing, and how fast. The place of the pass is a row of the index, written once a
 * minute: a kill costs a minute's work. Knows nothing of who serves what it reads. */
#include "cache/scrub.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "cache/index.h"
#include "cache/ledger.h"
#include "cache/quarantine.h"
#include "cache/room.h"
#include "cache/store.h"

enum {
    PIECE_BYTES = 256 << 10,
    SUSPECTS_MAX = 1024,
    SAVE_EVERY_MS = 60 * 1000,
    LOOK_EVERY_MS = 60 * 1000, /* whether the next pass is due */
    LOOK_AGAIN_MS = 10 * 1000, /* at what could not be read */
    FILE_COSTS_BYTES = 4096,   /* to open one, as bytes that are read */
    LEAST_RATE = 1 << 20,      /* bytes a second: a large blob must not take days */
    MOST_RATE = 64 << 20,      /* clients come first, however short the interval */
};

/* --- one blob --------------------------------------------------------------------------------- */

static enum scrub_verdict hash(const struct digest *d, struct hasher *h,
                               bool (*pace)(void *cls, size_t bytes), void *cls,
                               struct scrub_found *out)
{
    struct digest got;
    autofree char *piece = alloc_array(PIECE_BYTES, 1);
    uint64_t at = 0;
    ssize_t n;
    while ((n = file_read_some(out->fd, piece, PIECE_BYTES, at, &out->why)) > 0) {
        metric_add(scrubbed_bytes_total, n);
        hasher_update(h, piece, (size_t)n);
        at += (uint64_t)n;
        if (pace && !pace(cls, (size_t)n))
            return SCRUB_STOPPED;
    }
    if (n < 0)
        return SCRUB_WRONG;
    hasher_final(h, &got);
    out->size_bytes = at;
    if (digest_equals(&got, d))
        return SCRUB_RIGHT;
    char text[DIGEST_TEXT_MAX];
    error_set(&out->why, ERR_CORRUPT, "its bytes are those of %s", digest_print(&got, text));
    return SCRUB_WRONG;
}

enum scrub_verdict scrub_look(struct store *s, const struct digest *d,
                              bool (*pace)(void *cls, size_t bytes), void *cls,
                              struct scrub_found *out)
{
    *out = (struct scrub_found){.fd = -1};
    int got = store_get(s, d, &out->fd, &out->size_bytes, &out->why);
    if (got == 0)
        return SCRUB_ABSENT;
    if (got < 0)
        return out->why.kind == ERR_CORRUPT ? SCRUB_WRONG : SCRUB_UNKNOWN;
    struct hasher *h = hasher_new((enum digest_algorithm)d->algorithm);
    enum scrub_verdict verdict = hash(d, h, pace, cls, out);
    hasher_free(h);
    return verdict;
}

/* --- the thread ------------------------------------------------------------------------------- */

struct suspect {
    struct letter letter; /* first */
    struct digest digest;
    scrub_done done;
    void *cls;
};

struct scrub {
    struct store *store;
    struct index_reader *reader;
    struct ledger *ledger;
    struct mailbox *suspects;
    pthread_t thread;
    _Atomic int64_t interval_ms;
    _Atomic bool is_stopping;
    /* the thread's: */
    struct index_scrub pass;
    bool is_passing;    /* pass is under way, else it has ended */
    int64_t held_bytes; /* when it began, or went on */
    int64_t saved_ms;
    int64_t owed_bytes; /* were read, and not waited for yet */
    uint64_t blobs, wrong;
};

static bool is_stopping(struct scrub *c)
{
    return atomic_load(&c->is_stopping);
}

/* --- what is wrong ---------------------------------------------------------------------------- */

static void note_failed(void *cls, const struct error *e)
{
    if (e)
        *(struct error *)cls = *e;
}

static void report(const struct digest *d, const struct scrub_found *found,
                   const struct error *failed)
{
    char text[DIGEST_TEXT_MAX];
    log_event(LOG_LEVEL_ERROR,
              failed->kind == ERR_NONE
                  ? "a held blob is wrong, set aside; it is fetched again when it is asked for"
                  : "a held blob is wrong, and could not be set aside",
              LOG_S("digest", digest_print(d, text)), LOG_I("bytes", found->size_bytes),
              LOG_S("reason", found->why.text),
              LOG_S("error", failed->kind == ERR_NONE ? NULL : failed->text), LOG_END);
}

/* Lets the ledger set it aside if it is wrong. failed: ERR_NONE before. */
static enum scrub_verdict judge(struct scrub *c, const struct digest *d, enum scrub_verdict verdict,
                                const struct scrub_found *found, struct error *failed)
{
    if (verdict == SCRUB_WRONG) {
        if (ledger_set_aside(c->ledger, d, found->fd, true, note_failed, failed))
            ledger_settle(c->ledger);
        else
            error_set(failed, ERR_STOPPING, "the mirror is stopping");
        if (failed->kind == ERR_NOT_FOUND) { /* replaced while it was looked at */
            *failed = (struct error){0};
            verdict = SCRUB_ABSENT;
        } else {
            report(d, found, failed);
        }
    } else if (verdict == SCRUB_UNKNOWN) {
        *failed = found->why;
        log_event(LOG_LEVEL_WARNING, "a held blob could not be looked at",
                  LOG_S("reason", found->why.text), LOG_END);
    }
    if (found->fd >= 0)
        close(found->fd);
    return verdict;
}

static bool until_stopped(void *cls, size_t bytes)
{
    (void)bytes;
    return !is_stopping(cls);
}

static void clear(struct scrub *c, struct suspect *s)
{
    struct error failed = {.kind = ERR_NONE};
    struct scrub_found found;
    enum scrub_verdict verdict = SCRUB_STOPPED;
    if (!is_stopping(c)) {
        verdict = scrub_look(c->store, &s->digest, until_stopped, c, &found);
        verdict = judge(c, &s->digest, verdict, &found, &failed);
    }
    if (verdict == SCRUB_STOPPED)
        error_set(&failed, ERR_STOPPING, "the mirror is stopping");
    if (s->done)
        s->done(s->cls, verdict, failed.kind == ERR_NONE ? NULL : &failed);
    free(s);
}

/* Waits that long, and looks at each suspect that comes meanwhile. false: stopping. */
static bool wait(struct scrub *c, int64_t ms)
{
    int64_t until_ms = clock_mono_ms() + ms, left_ms = ms;
    while (!is_stopping(c) && left_ms >= 0) {
        struct suspect *s = (struct suspect *)mailbox_take(c->suspects, left_ms);
        if (!s)
            break;
        clear(c, s);
        left_ms = until_ms - clock_mono_ms();
    }
    return !is_stopping(c);
}

/* --- the pass --------------------------------------------------------------------------------- */

static int write_pass(struct store *s, struct index *x, void *cls, struct error *e)
{
    (void)s;
    return index_put_scrub(x, cls, e);
}

static void save(struct scrub *c)
{
    if (ledger_run(c->ledger, write_pass, NULL, &c->pass))
        ledger_settle(c->ledger);
    c->saved_ms = clock_mono_ms();
}

/* Bytes a second. */
static int64_t rate(struct scrub *c)
{
    int64_t needed = c->held_bytes / (atomic_load(&c->interval_ms) / 1000 + 1);
    return needed < LEAST_RATE ? LEAST_RATE : needed > MOST_RATE ? MOST_RATE : needed;
}

static bool keep_pace(void *cls, size_t bytes)
{
    struct scrub *c = cls;
    c->owed_bytes += (int64_t)bytes;
    if (c->owed_bytes < PIECE_BYTES)
        return !is_stopping(c);
    int64_t ms = c->owed_bytes * 1000 / rate(c);
    c->owed_bytes = 0;
    return wait(c, ms);
}

static void begin_pass(struct scrub *c)
{
    struct index_tally held = {0};
    struct error e;
    if (c->pass.place.algorithm == 0) {
        c->pass.began_at = clock_wall_s();
        c->blobs = c->wrong = 0;
    }
    if (index_tally(c->reader, &held, &e) < 0)
        log_event(LOG_LEVEL_WARNING, "what is held cannot be summed", LOG_S("reason", e.text),
                  LOG_END);
    c->held_bytes = (int64_t)(held.bytes + held.blobs * FILE_COSTS_BYTES);
    c->is_passing = true;
}

static void end_pass(struct scrub *c)
{
    c->pass.place = (struct digest){0};
    c->is_passing = false;
    save(c);
    if (c->blobs == 0)
        return;
    log_event(LOG_LEVEL_INFO, "all that is held was looked at", LOG_I("blobs", c->blobs),
              LOG_I("wrong", c->wrong), LOG_END);
}

/* A disk that gives nothing for a moment must not cost what is on it. */
static enum scrub_verdict look(struct scrub *c, const struct digest *d, struct scrub_found *out)
{
    enum scrub_verdict verdict = scrub_look(c->store, d, keep_pace, c, out);
    if (verdict != SCRUB_WRONG || out->why.kind == ERR_CORRUPT)
        return verdict;
    log_event(LOG_LEVEL_WARNING, "a held blob cannot be read, and is looked at again",
              LOG_S("reason", out->why.text), LOG_END);
    if (out->fd >= 0)
        close(out->fd);
    out->fd = -1;
    return wait(c, LOOK_AGAIN_MS) ? scrub_look(c->store, d, keep_pace, c, out) : SCRUB_STOPPED;
}

/* The next blob in order. */
static void pass_one(struct scrub *c)
{
    struct digest d;
    struct error e;
    struct error failed = {.kind = ERR_NONE};
    int got = index_next_blob(c->reader, &c->pass.place, &d, &e);
    if (got == 0) {
        end_pass(c);
        return;
    }
    if (got < 0) { /* whoever needs the index tells of it */
        wait(c, LOOK_EVERY_MS);
        return;
    }
    struct scrub_found found;
    if (!keep_pace(c, FILE_COSTS_BYTES))
        return;
    enum scrub_verdict verdict = look(c, &d, &found);
    verdict = judge(c, &d, verdict, &found, &failed);
    if (verdict == SCRUB_STOPPED)
        return;
    c->pass.place = d;
    c->blobs++;
    c->wrong += verdict == SCRUB_WRONG;
    metric_add(scrubbed_blobs_total, 1);
    if (clock_mono_ms() >= c->saved_ms + SAVE_EVERY_MS)
        save(c);
}

/* A clock that was set back must not keep the next pass from beginning. */
static bool is_due(const struct scrub *c, int64_t interval_ms)
{
    int64_t now_s = clock_wall_s();
    return c->pass.place.algorithm || now_s < c->pass.began_at ||
           now_s - c->pass.began_at >= interval_ms / 1000;
}

static void step(struct scrub *c)
{
    int64_t interval_ms = atomic_load(&c->interval_ms);
    if (interval_ms > 0 && !c->is_passing && is_due(c, interval_ms))
        begin_pass(c);
    if (interval_ms > 0 && c->is_passing)
        pass_one(c);
    else
        wait(c, LOOK_EVERY_MS);
}

static void *run(void *cls)
{
    struct scrub *c = cls;
    struct suspect *s;
    thread_yield_to_others();
    while (!is_stopping(c))
        step(c);
    if (c->pass.place.algorithm)
        save(c);
    while ((s = (struct suspect *)mailbox_take(c->suspects, -1)))
        clear(c, s);
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------- */

struct scrub *scrub_start(struct store *s, struct index *x, struct ledger *l, int64_t interval_ms,
                          struct error *e)
{
    autofree struct scrub *c = alloc_zero(sizeof *c);
    c->store = s;
    c->ledger = l;
    c->interval_ms = interval_ms;
    c->saved_ms = clock_mono_ms();
    c->reader = index_reader_open(x, e);
    if (!c->reader)
        return NULL;
    if (index_get_scrub(c->reader, &c->pass, NULL) < 0)
        c->pass = (struct index_scrub){.began_at = 0};
    c->suspects = mailbox_new(SUSPECTS_MAX, NULL, NULL);
    if (thread_start(&c->thread, "scrub", run, c, e) < 0) {
        mailbox_free(c->suspects);
        index_reader_close(c->reader);
        return NULL;
    }
    return take(c);
}

void scrub_set_interval(struct scrub *c, int64_t interval_ms)
{
    atomic_store(&c->interval_ms, interval_ms);
}

void scrub_stop(struct scrub *c)
{
    atomic_store(&c->is_stopping, true);
    mailbox_close(c->suspects);
    pthread_join(c->thread, NULL);
    index_reader_close(c->reader);
    c->reader = NULL;
}

void scrub_free(struct scrub *c)
{
    mailbox_free(c->suspects);
    free(c);
}

bool scrub_suspect(struct scrub *c, const struct digest *d, scrub_done done, void *cls)
{
    struct suspect *s = alloc_zero(sizeof *s);
    s->digest = *d;
    s->done = done;
    s->cls = cls;
    if (mailbox_post(c->suspects, &s->letter))
        return true;
    free(s);
    return false;
}
