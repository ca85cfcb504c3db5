/* SPDX-License-Identifier: Apache-2.0
 * Errors as plain data. Knows the table in error.def; refuses to allocate, to log and to keep
 * anything of its own. The text ends up in logs and answers, so it is kept to one line of whole
 * characters here, once. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct row {
    int http_status;
    int exit_status;
    const char *code;
    const char *name;
};

static const struct row rows[ERR_COUNT] = {
#define X(kind, http, code, exit) [kind] = {http, exit, code, #kind},
#include "base/error.def"
#undef X
};

static const struct row *row_of(enum error_kind kind)
{
    bool is_known = (unsigned)kind < (unsigned)ERR_COUNT;
    return &rows[is_known ? kind : ERR_INTERNAL];
}

/* A text that was cut may end inside a UTF-8 character: goes back to where that one began. */
static void drop_cut_character(char *text, size_t length)
{
    size_t start = length;
    while (start > 0 && length - start < 3 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0 || (unsigned char)text[start - 1] < 0xC0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t wanted = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (length - (start - 1) < wanted)
        text[start - 1] = '\0';
}

static void set_text(struct error *e, const char *text)
{
    size_t length = strnlen(text, sizeof(e->text) - 1);
    memcpy(e->text, text, length);
    e->text[length] = '\0';
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)e->text[i];
        if (c < 0x20 || c == 0x7F)
            e->text[i] = ' ';
    }
    if (length == sizeof(e->text) - 1)
        drop_cut_character(e->text, length);
}

int error_set(struct error *e, enum error_kind kind, const char *format, ...)
{
    if (!e)
        return -1;
    char text[sizeof(e->text)]; /* not e->text itself: it may be among the arguments */
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);
    e->kind = kind;
    e->retry_after_s = 0;
    e->upstream_status = 0;
    set_text(e, text);
    return -1;
}

static enum error_kind kind_of(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return ERR_BUSY;
    default:
        return ERR_IO;
    }
}

int error_errno(struct error *e, const char *format, ...)
{
    int number = errno;
    if (!e)
        return -1;
    char what[sizeof(e->text)];
    va_list args;
    va_start(args, format);
    if (vsnprintf(what, sizeof(what), format, args) < 0)
        what[0] = '\0';
    va_end(args);
    char reason[80];
    const char *said = strerror_r(number, reason, sizeof(reason));
    error_set(e, kind_of(number), "%s: %s", what, said);
    errno = number;
    return -1;
}

int error_prefix(struct error *e, const char *format, ...)
{
    if (!e)
        return -1;
    char text[2 * sizeof(e->text)];
    va_list args;
    va_start(args, format);
    int written = vsnprintf(text, sizeof(e->text), format, args);
    va_end(args);
    if (written < 0)
        return -1;
    size_t length = strlen(text);
    snprintf(text + length, sizeof(text) - length, ": %s", e->text);
    set_text(e, text);
    return -1;
}

int error_http_status(enum error_kind kind)
{
    return row_of(kind)->http_status;
}

const char *error_code(enum error_kind kind)
{
    return row_of(kind)->code;
}

int error_exit_status(enum error_kind kind)
{
    return row_of(kind)->exit_status;
}

const char *error_name(enum error_kind kind)
{
    return row_of(kind)->name;
}
