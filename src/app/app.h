/* SPDX-License-Identifier: Apache-2.0
 * Builds every object of a running mirror, starts and stops them in order: the one place that sees
 * all. */
#ifndef APP_APP_H
#define APP_APP_H

struct config;
struct error;

/* Runs the mirror until SIGTERM or SIGINT, which drain it; a second one ends the process at once.
 * Takes over the process's signals. 0 after an orderly end, -1 when it could not start. Main
 * thread. */
int app_serve(const struct config *c, struct error *e);

#endif
