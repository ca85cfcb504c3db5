/* SPDX-License-Identifier: Apache-2.0
 * Which tags are meant where no single one is named: "1.27.*" (wildcards as of a shell) or
 * ">=7 <8" (versions: >= > <= < = != ^ ~, all of which must hold). And the order of tags: that of
 * versions, as semver.org has it. Pre-releases ("1.27.0-alpine", "8.0-rc1") are meant only by
 * patterns that have a "-" themselves. Pure, any thread. */
#ifndef OCI_TAG_PATTERN_H
#define OCI_TAG_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct error;

/* Can it be no tag, but a pattern? */
bool tag_pattern_looks_like(struct slice text);
/* 0, or -1 with ERR_TAG_INVALID: a pattern that can be understood? */
int tag_pattern_check(struct slice text, struct error *e);
/* Of a pattern that was checked. */
bool tag_pattern_matches(struct slice pattern, const char *tag);
/* As strcmp: the newer is the greater. What is no version is less than any that is. */
int tag_compare(const char *a, const char *b);

#endif
