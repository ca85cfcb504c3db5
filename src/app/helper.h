/* SPDX-License-Identifier: Apache-2.0
 * Runs a credential helper, a program of docker's protocol: `docker-credential-NAME get` reads a
 * server's name and writes JSON. Waits for it, 10 s at most. Main thread. */
#ifndef APP_HELPER_H
#define APP_HELPER_H

struct credentials;
struct error;

/* 0, or -1 with ERR_USAGE that names the program and repeats nothing that it wrote. */
int helper_ask(const char *name, const char *server, struct credentials *out, struct error *e);

#endif
