/* SPDX-License-Identifier: Apache-2.0
 * Makes the rows of a table that is included next the fields of a struct; the table ends the spell.
 * No include guard: it is included once a table. */
#define LIST(field, ...)                                                                           \
    char **field;                                                                                  \
    struct option_mark field##_mark;
#define TEXT(field, ...)                                                                           \
    char *field;                                                                                   \
    struct option_mark field##_mark;
#define CHOICE(field, ...)                                                                         \
    char *field;                                                                                   \
    struct option_mark field##_mark;
#define DURATION(field, ...)                                                                       \
    int64_t field##_ms;                                                                            \
    struct option_mark field##_mark;
#define NUMBER(field, ...)                                                                         \
    int64_t field;                                                                                 \
    struct option_mark field##_mark;
#define SIZE(field, ...)                                                                           \
    int64_t field##_bytes;                                                                         \
    struct option_mark field##_mark;
#define MIRRORS(field, ...)                                                                        \
    struct mirror_list field;                                                                      \
    struct option_mark field##_mark;
