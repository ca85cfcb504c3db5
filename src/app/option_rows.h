/* SPDX-License-Identifier: Apache-2.0
 * Makes the rows of a table that is included next items of a struct option array; OPTION_INTO is
 * the struct of their fields. No include guard: it is included once a table. */
#define OPTION_AT(field, mark) offsetof(OPTION_INTO, field), offsetof(OPTION_INTO, mark)
#define LIST(field, name, initial, metavar, sentence)                                              \
    {name, OPTION_LIST, OPTION_AT(field, field##_mark), initial, 0, 0, metavar, sentence},
#define TEXT(field, name, initial, metavar, sentence)                                              \
    {name, OPTION_TEXT, OPTION_AT(field, field##_mark), initial, 0, 0, metavar, sentence},
#define CHOICE(field, name, initial, metavar, sentence)                                            \
    {name, OPTION_CHOICE, OPTION_AT(field, field##_mark), initial, 0, 0, metavar, sentence},
#define DURATION(field, name, initial, least, most, sentence)                                      \
    {name,       OPTION_DURATION, OPTION_AT(field##_ms, field##_mark), initial, least, most,       \
     "DURATION", sentence},
#define NUMBER(field, name, initial, least, most, sentence)                                        \
    {name, OPTION_NUMBER, OPTION_AT(field, field##_mark), initial, least, most, "N", sentence},
#define SIZE(field, name, initial, least, most, sentence)                                          \
    {name,   OPTION_SIZE, OPTION_AT(field##_bytes, field##_mark), initial, least, most,            \
     "SIZE", sentence},
#define MIRRORS(field, name, initial, metavar, sentence)                                           \
    {name, OPTION_MIRRORS, OPTION_AT(field, field##_mark), initial, 0, 0, metavar, sentence},
