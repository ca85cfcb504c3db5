/* SPDX-License-Identifier: Apache-2.0
 * The configuration as a value: the options of config.def, and the registries. The command line
 * wins over the environment, which wins over the file, which wins over the defaults. It can be
 * loaded any number of times, which is how SIGHUP works. One thread. */
#ifndef APP_CONFIG_H
#define APP_CONFIG_H

#include "app/option.h"
#include "base/str.h"
#include "cache/room.h"

struct mistakes;
struct registry;

struct config {
    char *path;     /* of the file that was read; NULL: none */
    bool is_closed; /* the file says which registries there are */
    struct registry **registries;
    size_t registry_count; /* at least 1 once loaded */
#include "app/option_fields.h"
/* after the fields, which are macros until then */
#include "app/config.def"
};

/* Where to load from; borrowed. */
struct config_input {
    const char *path;     /* NULL: TRANSHIP_CONFIG, else the usual one if it is there */
    struct slice text;    /* what stands in path, if it was read already (at is not NULL) */
    char *const *options; /* of the command line: name, value, name, value, … NULL; or NULL */
    bool is_file_only;    /* no environment either */
};

extern const struct option_table config_options;

/* 0, or -1 with every mistake there is added, each with its place. config_fini after either. */
int config_load(struct config *c, const struct config_input *in, struct mistakes *m);
void config_fini(struct config *c);
/* What the data folder may take of its disk, in that mode: the one in force, where it is not new.
 */
struct room_limits config_limits(const struct config *c, const char *mode);
/* NULL: none of that (canonical) name. */
struct registry *config_registry(const struct config *c, const char *name);
/* Owned by the config from here on. */
void config_add_registry(struct config *c, struct registry *r);
/* Adds a line for each file that the configuration names and this process cannot read. */
void config_note_files(const struct config *c, struct mistakes *notes);
const char *config_usual_path(void);

#endif
