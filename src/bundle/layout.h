/* SPDX-License-Identifier: Apache-2.0
 * The files of a bundle that other tools read: an OCI image layout (image-layout.md), and beside it
 * docker's manifest.json. */
#ifndef BUNDLE_LAYOUT_H
#define BUNDLE_LAYOUT_H

struct contents;
struct error;
struct selection;
struct store;
struct str;

#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"

void layout_print_index(const struct selection *s, struct str *out);
/* Nothing is appended if no image is whole in this bundle. 0 or -1. */
int layout_print_docker(const struct selection *s, struct store *store, struct str *out,
                        struct error *e);

#endif
