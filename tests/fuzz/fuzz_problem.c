/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as an upstream's error body, and as a text of our own errors. */
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "fuzz.h"
#include "oci/problem.h"

/* Fits, is whole UTF-8 and can be shown on a terminal. */
static void check_text(const char *text, size_t room)
{
    size_t length = strnlen(text, room);
    must(length < room);
    for (struct slice s = {text, length}; s.length;) {
        size_t n = slice_utf8(s);
        must(n > 0);
        must((unsigned char)s.at[0] >= ' ' && s.at[0] != 0x7F);
        must((unsigned char)s.at[0] != 0xC2 || (unsigned char)s.at[1] >= 0xA0);
        s = slice_sub(s, n, s.length);
    }
}

static void check_read(struct slice body)
{
    static const size_t rooms[] = {1, 2, 3, 4, 7, 64};
    char code[64], message[64];
    for (size_t i = 0; i < sizeof(rooms) / sizeof(*rooms); i++) {
        memset(code, 'x', sizeof(code));
        memset(message, 'x', sizeof(message));
        if (problem_read(body.at, body.length, code, rooms[i], message, 64)) {
            check_text(code, rooms[i]);
            check_text(message, 64);
        } else {
            must(code[0] == 'x' && message[0] == 'x');
        }
    }
}

static void check_print(struct slice text)
{
    struct error e = {0};
    autostr struct str printed = {0};
    char code[64], message[sizeof(e.text) * 3];
    enum error_kind kind = (enum error_kind)(text.length % ERR_COUNT);
    error_set(&e, kind, "%.*s", (int)(text.length < 1000 ? text.length : 1000), text.at);
    problem_print(&e, &printed);
    must(problem_read(str_text(&printed), printed.length, code, sizeof(code), message,
                      sizeof(message)));
    must(strcmp(code, error_code(kind)) == 0);
    check_text(message, sizeof(message));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    check_read(text);
    check_print(text);
    return 0;
}
