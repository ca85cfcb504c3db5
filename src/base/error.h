/* SPDX-License-Identifier: Apache-2.0
 * Why a call failed, as plain data: copied, stored and compared freely, never allocated, never
 * fails itself. Convention: the error is the last parameter; a failing call returns -1 (or NULL)
 * and fills it; results are untouched on failure. Expected outcomes (absent, not yet) are return
 * values, not errors. All functions are safe from any thread; e may be NULL where the caller does
 * not care. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdint.h>

enum error_kind {
#define X(kind, http, code, exit) kind,
#include "base/error.def"
#undef X
    ERR_COUNT
};

struct error {
    enum error_kind kind; /* ERR_NONE: no error here */
    int retry_after_s;    /* seconds until it is worth asking again; 0: nobody said */
    int upstream_status;  /* HTTP status that an upstream gave; 0: none */
    char text[300];       /* one line, no newline, says what and names the thing */
};

/* Fills e (printf format); clears retry_after_s and upstream_status. Returns -1, so `return
 * error_set(…)`. */
int error_set(struct error *e, enum error_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same from errno, whose text is appended after ": ". ENOSPC and EDQUOT become ERR_NO_SPACE;
 * too many open files or too little memory, of which the file is innocent, ERR_BUSY; all others
 * ERR_IO. Returns -1. */
int error_errno(struct error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts context and ": " before the text that is already there; kind and numbers stay. Returns -1.
 */
int error_prefix(struct error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The columns of error.def. error_name gives "ERR_TIMEOUT". */
int error_http_status(enum error_kind kind);
const char *error_code(enum error_kind kind);
int error_exit_status(enum error_kind kind);
const char *error_name(enum error_kind kind);

#endif
