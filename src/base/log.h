/* SPDX-License-Identifier: Apache-2.0
 * Log lines on stderr, one event a line: text (time LEVEL message key=value …, values quoted when
 * needed) or JSON (an object a line). Values are escaped, so a stranger's bytes never forge a line.
 * Lines go through a bounded buffer that one thread writes out, so that no request waits for the
 * terminal; when it is full, lines are dropped and the count is told in the next one. Before
 * log_start and after log_stop lines are written at once. Any thread; takes the log's own mutex
 * (the last rank); never fails. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

struct error;

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_OFF
};
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

void log_configure(enum log_level level,
                   enum log_format format); /* at start, and at any later time */
int log_start(struct error *e);             /* begins the writing thread */
void log_stop(void);                        /* flushes and ends it */
bool log_is_on(enum log_level level);

/* "debug" "info" "warning" "error" "off"; "text" "json". Return false for another word. */
bool log_level_parse(const char *word, enum log_level *level);
bool log_format_parse(const char *word, enum log_format *format);

/* One line. fields: key, value pairs built by the macros below, ended by LOG_END.
 *   log_event(LOG_LEVEL_WARNING, "upstream failed", LOG_S("upstream", url), LOG_I("status", 503),
 * LOG_END); */
enum log_type { LOG_TYPE_END, LOG_TYPE_STRING, LOG_TYPE_INTEGER };
struct log_field {
    enum log_type type;
    const char *key;
    const char *string; /* NULL leaves the field out */
    int64_t integer;
};
#define LOG_S(k, v) ((struct log_field){.type = LOG_TYPE_STRING, .key = (k), .string = (v)})
#define LOG_I(k, v)                                                                                \
    ((struct log_field){.type = LOG_TYPE_INTEGER, .key = (k), .integer = (int64_t)(v)})
#define LOG_END ((struct log_field){.type = LOG_TYPE_END})
void log_fields(enum log_level level, const char *message, const struct log_field *fields);
#define log_event(level, message, ...)                                                             \
    do {                                                                                           \
        if (log_is_on(level))                                                                      \
            log_fields(level, message, (const struct log_field[]){__VA_ARGS__});                   \
    } while (0)

#endif
