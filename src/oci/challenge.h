/* SPDX-License-Identifier: Apache-2.0
 * WWW-Authenticate (RFC 9110 §11.6.1): several header lines, several challenges a line. Pure, any
 * thread. */
#ifndef OCI_CHALLENGE_H
#define OCI_CHALLENGE_H

#include <stdbool.h>

#include "base/str.h"

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };

struct challenge {
    enum challenge_scheme scheme;
    char realm[1024];
    char service[256];
    char scope[512];
    char error[64]; /* insufficient_scope, invalid_token, … */
};

/* Reads one header line and keeps in *best the best seen so far: Bearer with a realm before Basic
 * before none. Call once a line, with *best zeroed before the first. Fields that do not fit make a
 * challenge unusable. */
void challenge_read(struct slice header, struct challenge *best);
/* Does a scope such as "repository:library/alpine:pull" name that repository? */
bool challenge_scope_names(const char *scope, const char *repository);

#endif
