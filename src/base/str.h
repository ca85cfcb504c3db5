/* SPDX-License-Identifier: Apache-2.0
 * Slices (borrowed bytes with a length, not terminated) and a growable string (owned, always
 * 0-terminated). */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
    const char *at;
    size_t length;
};

struct slice slice_of(const char *text); /* whole string; NULL gives an empty slice */
struct slice slice_sub(struct slice s, size_t from, size_t length); /* clamped to s */
bool slice_equals(struct slice s, const char *text);
bool slice_equals_nocase(struct slice s, const char *text);
bool slice_starts(struct slice s, const char *prefix);
bool slice_ends(struct slice s, const char *suffix);
struct slice slice_trim(struct slice s); /* without spaces and tabs at both ends */
/* Cuts at the first (last) `at`: *head before it, *tail after it. false and untouched if there is
 * none. */
bool slice_cut(struct slice s, char at, struct slice *head, struct slice *tail);
bool slice_cut_last(struct slice s, char at, struct slice *head, struct slice *tail);
/* The whole slice as an unsigned decimal; false if empty, not digits only, or above max. */
bool slice_u64(struct slice s, uint64_t max, uint64_t *value);
char *slice_dup(struct slice s); /* owned, 0-terminated */
/* Copies with a 0 at the end; false and out untouched if it does not fit. */
bool slice_copy(struct slice s, char *out, size_t out_bytes);
size_t
slice_utf8(struct slice s); /* bytes of the valid UTF-8 character in front; 0 if there is none */

struct str {
    char *text; /* NULL while empty; use str_text */
    size_t length, room;
};

void str_add(struct str *s, const char *text);
void str_add_bytes(struct str *s, const void *bytes, size_t length);
void str_add_char(struct str *s, char c);
void str_format(struct str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void str_json(struct str *s,
              struct slice value); /* quoted and escaped JSON string; bad UTF-8 becomes U+FFFD */
const char *str_text(const struct str *s); /* never NULL */
char *str_take(struct str *s);             /* ownership leaves, s is empty again; never NULL */
void str_clear(struct str *s);             /* length 0, room kept */
void str_fini(struct str *s);
#define autostr __attribute__((cleanup(str_fini))) /* autostr struct str s = {0}; */

/* Edits (insert, delete, replace, swap) from a to b; the nearest of a NULL-ended list within 3, or
 * NULL. */
unsigned str_distance(const char *a, const char *b);
const char *str_nearest(const char *word, const char *const *words);

/* "10GiB" "500MB" "4096"; decimal and binary units B K KB KiB M … T, case-insensitive. "90s" "15m"
 * "12h" "30d" "250ms". */
bool str_parse_size(const char *text, uint64_t *bytes);
bool str_parse_duration(const char *text, int64_t *ms);
/* Percent-decodes once into out (0-terminated). false on a bad escape, an escaped 0, or too little
 * room. '+' stays. */
bool str_percent_decode(struct slice s, char *out, size_t out_bytes);
/* Appends with everything but unreserved characters (and those in keep) percent-encoded. */
void str_percent_encode(struct str *s, struct slice value, const char *keep);

/* Decodes padded Base64 (RFC 4648 §4) into out (0-terminated, *length without it). false on
 * anything else, or too little room. */
bool str_base64_decode(struct slice s, char *out, size_t out_bytes, size_t *length);

#endif
