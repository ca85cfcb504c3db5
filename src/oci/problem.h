/* SPDX-License-Identifier: Apache-2.0
 * Registry error bodies: {"errors":[{"code","message"}]} (distribution-spec "Error Codes"). Pure,
 * any thread. */
#ifndef OCI_PROBLEM_H
#define OCI_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>

struct error;
struct str;

void problem_print(const struct error *e, struct str *out);

/* The first error of an upstream's body: code and message, cut to fit, control characters made
 * spaces. false if the body is not such a document. */
bool problem_read(const char *bytes, size_t length, char *code, size_t code_bytes, char *message,
                  size_t message_bytes);

#endif
