/* SPDX-License-Identifier: Apache-2.0
 * After a table: its words mean nothing again. */
#undef LIST
#undef TEXT
#undef CHOICE
#undef DURATION
#undef NUMBER
#undef SIZE
#undef MIRRORS
#undef OPTION_AT
#undef OPTION_INTO
