/* SPDX-License-Identifier: Apache-2.0
 * Log lines: made whole on the caller's stack, then handed to the writing thread's buffer or
 * written at once. Nothing here allocates per line, and no caller waits for stderr while the
 * writing thread runs. The process has one stderr, so the state is the process's too. */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/str.h"
#include "base/thread.h"

enum { BUFFER_BYTES = 256 * 1024, LINE_BYTES = 8 * 1024 };

static _Atomic int least_level = LOG_LEVEL_INFO;
static _Atomic int line_format = LOG_FORMAT_TEXT;
static _Atomic int64_t dropped_lines; /* not told yet */

static struct mutex mutex = {PTHREAD_MUTEX_INITIALIZER, RANK_LOG}; /* guards all below */
static pthread_cond_t is_changed = PTHREAD_COND_INITIALIZER;
static char *filling; /* NULL while no thread writes: lines are written at once */
static size_t filled;
static bool is_stopping;

static pthread_t writer; /* of the thread that calls log_start and log_stop */

static const struct {
    const char *word;
    const char *shown;
} levels[] = {
    [LOG_LEVEL_DEBUG] = {"debug", "DEBUG"},
    [LOG_LEVEL_INFO] = {"info", "INFO"},
    [LOG_LEVEL_WARNING] = {"warning", "WARNING"},
    [LOG_LEVEL_ERROR] = {"error", "ERROR"},
    [LOG_LEVEL_OFF] = {"off", "OFF"},
};

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store_explicit(&line_format, (int)format, memory_order_relaxed);
    atomic_store_explicit(&least_level, (int)level, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed) &&
           level < LOG_LEVEL_OFF;
}

bool log_level_parse(const char *word, enum log_level *level)
{
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(word, levels[i].word) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_format_parse(const char *word, enum log_format *format)
{
    bool is_json = strcmp(word, "json") == 0;
    if (!is_json && strcmp(word, "text") != 0)
        return false;
    *format = is_json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
    return true;
}

/* All of it, or as much as stderr takes: there is nobody to tell that it takes no more. */
static void write_out(const char *text, size_t length)
{
    while (length) {
        ssize_t n = write(STDERR_FILENO, text, length);
        if (n < 0 && errno == EAGAIN) { /* shared with a program that set it non-blocking */
            struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
            poll(&p, 1, -1);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text += n;
        length -= (size_t)n;
    }
}

/* Swaps the full buffer for the empty one; false once the log stops and all is written. */
static bool take_filled(char **spare, size_t *length)
{
    MUTEX_HOLD(&mutex);
    while (filled == 0 && !is_stopping)
        mutex_wait(&mutex, &is_changed, -1);
    if (filled == 0) {
        free(filling);
        filling = NULL; /* from here on lines are written at once, and after all the others */
        return false;
    }
    char *full = filling;
    filling = *spare;
    *spare = full;
    *length = filled;
    filled = 0;
    return true;
}

static void *write_lines(void *cls)
{
    char *spare = cls;
    size_t length;
    while (take_filled(&spare, &length))
        write_out(spare, length);
    free(spare);
    return NULL;
}

int log_start(struct error *e)
{
    char *spare = alloc_zero(BUFFER_BYTES);
    {
        MUTEX_HOLD(&mutex);
        assert(!filling);
        filling = alloc_zero(BUFFER_BYTES);
        filled = 0;
        is_stopping = false;
    }
    if (thread_start(&writer, "log", write_lines, spare, e) == 0)
        return 0;
    {
        MUTEX_HOLD(&mutex);
        is_stopping = true;
    }
    write_lines(spare); /* what came meanwhile, and back to writing at once */
    return -1;
}

void log_stop(void)
{
    {
        MUTEX_HOLD(&mutex);
        if (!filling)
            return;
        is_stopping = true;
        pthread_cond_signal(&is_changed);
    }
    pthread_join(writer, NULL);
    if (atomic_load(&dropped_lines))
        log_event(LOG_LEVEL_ERROR, "log stopped", LOG_END); /* any line tells the count */
}

/* false if the buffer has no room. Written at once, a line keeps the lock so that two never mix:
 * stderr may take only a part at a time. That is so only while the process starts or ends. */
static bool hand_over(const char *text, size_t length)
{
    MUTEX_HOLD(&mutex);
    if (!filling) {
        write_out(text, length);
        return true;
    }
    if (length > BUFFER_BYTES - filled)
        return false;
    memcpy(filling + filled, text, length);
    filled += length;
    if (filled == length)
        pthread_cond_signal(&is_changed);
    return true;
}

/* A line being made. Fields end where it is full; TAIL_BYTES stay free for what must still follow
 * them: the quote, cut=1, dropped=…, the brace, the newline. */
enum { TAIL_BYTES = 64 };
struct line {
    enum log_format format;
    bool is_cut; /* takes no more fields */
    size_t length;
    char text[LINE_BYTES];
};

static void put(struct line *l, const char *text)
{
    size_t length = strlen(text);
    assert(l->length + length <= sizeof(l->text));
    memcpy(l->text + l->length, text, length);
    l->length += length;
}

static bool has_room(struct line *l, size_t length)
{
    if (l->length + length > sizeof(l->text) - TAIL_BYTES)
        l->is_cut = true;
    return !l->is_cut;
}

/* The character in front of rest, made harmless: a stranger's bytes neither end a line nor move a
 * cursor. */
static void escape(enum log_format format, struct slice *rest, char out[8])
{
    static const char plain[] = "\"\\\n\r\t", letters[] = "\"\\nrt";
    const unsigned char *at = (const unsigned char *)rest->at;
    size_t length = slice_utf8(*rest);
    unsigned code = length == 2 && at[0] == 0xC2 ? at[1] : at[0]; /* right for U+0000 to U+00BF */
    bool is_control = code < 0x20 || (code >= 0x7F && code < 0xA0);
    const char *found = length == 1 && code ? strchr(plain, (char)code) : NULL;
    if (found)
        snprintf(out, 8, "\\%c", letters[found - plain]);
    else if (length && length <= 2 && is_control)
        snprintf(out, 8, "\\u%04x", code & 0xFF);
    else if (length)
        slice_copy(slice_sub(*rest, 0, length), out, 8);
    else if (format == LOG_FORMAT_TEXT)
        snprintf(out, 8, "\\x%02x", (unsigned)at[0]);
    else
        snprintf(out, 8, "\xEF\xBF\xBD");
    *rest = slice_sub(*rest, length ? length : 1, rest->length);
}

static void put_escaped(struct line *l, const char *value)
{
    struct slice rest = slice_of(value);
    while (rest.length) {
        char out[8];
        escape(l->format, &rest, out);
        if (!has_room(l, strlen(out)))
            return;
        put(l, out);
    }
}

static bool needs_quotes(const char *value)
{
    for (const char *c = value; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == '"' || *c == '=' || *c == '\\')
            return true;
    return *value == '\0';
}

static void put_key(struct line *l, const char *key)
{
    put(l, l->format == LOG_FORMAT_JSON ? ",\"" : " ");
    put(l, key);
    put(l, l->format == LOG_FORMAT_JSON ? "\":" : "=");
}

static void put_integer(struct line *l, const char *key, int64_t value)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%" PRId64, value);
    put_key(l, key);
    put(l, digits);
}

static void put_string(struct line *l, const char *key, const char *value)
{
    const char *quote = l->format == LOG_FORMAT_JSON || needs_quotes(value) ? "\"" : "";
    put_key(l, key);
    put(l, quote);
    put_escaped(l, value);
    put(l, quote);
}

static void put_field(struct line *l, const struct log_field *f)
{
    if (f->type == LOG_TYPE_STRING && !f->string)
        return;
    if (!has_room(l, strlen(f->key) + 32)) /* the key, what is around it, an integer or a quote */
        return;
    if (f->type == LOG_TYPE_INTEGER)
        put_integer(l, f->key, f->integer);
    else
        put_string(l, f->key, f->string);
}

static void put_head(struct line *l, enum log_level level, const char *message)
{
    char time[24];
    clock_format(clock_wall_s(), time);
    if (l->format == LOG_FORMAT_JSON) {
        put(l, "{\"time\":\"");
        put(l, time);
        put(l, "\",\"level\":\"");
        put(l, levels[level].word);
        put(l, "\",\"message\":\"");
        put_escaped(l, message);
        put(l, "\"");
    } else {
        put(l, time);
        put(l, " ");
        put(l, levels[level].shown);
        put(l, " ");
        put_escaped(l, message);
    }
}

void log_fields(enum log_level level, const char *message, const struct log_field *fields)
{
    if (!log_is_on(level))
        return;
    struct line l; /* not initialised: 8 KiB a line would be cleared for nothing */
    l.format = (enum log_format)atomic_load_explicit(&line_format, memory_order_relaxed);
    l.is_cut = false;
    l.length = 0;
    put_head(&l, level, message);
    for (; fields->type != LOG_TYPE_END; fields++)
        put_field(&l, fields);
    if (l.is_cut)
        put_integer(&l, "cut", 1);
    int64_t dropped = atomic_load(&dropped_lines) ? atomic_exchange(&dropped_lines, 0) : 0;
    if (dropped)
        put_integer(&l, "dropped", dropped);
    put(&l, l.format == LOG_FORMAT_JSON ? "}\n" : "\n");
    if (!hand_over(l.text, l.length)) {
        atomic_fetch_add(&dropped_lines, dropped + 1);
        metric_add(log_dropped_total, 1);
    }
}
