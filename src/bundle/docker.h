/* SPDX-License-Identifier: Apache-2.0
 * The classic archives of docker save and podman save: no registry manifest is in them, so each
 * image gets a new one. Inside bundle only. */
#ifndef BUNDLE_DOCKER_H
#define BUNDLE_DOCKER_H

struct error;
struct intake;
struct json_t;
struct members;

/* list: manifest.json. Refuses what docker load would, and a tag that is known here under another
 * digest (unless forced). */
int docker_add(struct intake *in, const struct members *m, const struct json_t *list,
               struct error *e);

#endif
