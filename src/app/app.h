/* SPDX-License-Identifier: Apache-2.0
 * Builds every object of a running mirror, starts and stops them in order: the one place that sees
 * all. */
#ifndef APP_APP_H
#define APP_APP_H

struct config;
struct config_input;
struct error;
struct mistakes;

/* Runs the mirror until SIGTERM or SIGINT, which drain it; a second one ends the process at once.
 * SIGHUP loads the configuration again from `again`: one with mistakes is refused, of another that
 * which can change while it runs (registries, doors, room, the scrub, the log) holds for what is
 * asked from then on. Takes over the process's signals. 0 after an orderly end, -1 when it could
 * not start, for what e or what was added to m says. Main thread. */
int app_serve(const struct config *c, const struct config_input *again, struct mistakes *m,
              struct error *e);

/* Runs a mirror on that data folder behind its local door alone while work runs on the calling
 * thread: for a command, where no server runs. What work gives is the result. -1 too if it could
 * not start (as app_serve); ERR_BUSY: another process owns the folder. Signals are the caller's.
 * Logs errors only. */
int app_lend(const struct config *c, int (*work)(void *cls, struct error *e), void *cls,
             struct mistakes *m, struct error *e);

#endif
