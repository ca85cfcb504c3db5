/* SPDX-License-Identifier: Apache-2.0
 * Two clocks, replaceable in tests so that tests never sleep. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_wall_s(void); /* seconds since 1970: for what is stored or shown; may jump */
int64_t clock_mono_ms(
    void); /* milliseconds since some start: for intervals and deadlines; never goes back */
int64_t clock_mono_us(void); /* the same in microseconds */

/* Tests: freezes both clocks at these values; clock_advance_ms moves both; clock_real lets them run
 * again. */
void clock_freeze(int64_t wall_s, int64_t mono_ms);
void clock_advance_ms(int64_t ms);
void clock_real(void);

/* "2026-11-24T00:15:02Z" into out (at least 21 bytes). Returns out. */
char *clock_format(int64_t wall_s, char out[24]);

#endif
