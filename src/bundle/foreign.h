/* SPDX-License-Identifier: Apache-2.0
 * Other tools' archives, and folders, into the stage and the contents. Inside bundle only. */
#ifndef BUNDLE_FOREIGN_H
#define BUNDLE_FOREIGN_H

struct digest;
struct error;
struct intake;
struct reference;

int foreign_take(struct intake *in, const char *path, struct error *e);
int foreign_take_folder(struct intake *in, int folder, const char *path, struct error *e);
/* An image that was staged, with all that it names, under that name (tag "": none). */
int foreign_add(struct intake *in, const struct reference *name, const struct digest *d,
                const char *media_type, struct error *e);

#endif
