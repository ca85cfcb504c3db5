/* SPDX-License-Identifier: Apache-2.0
 * The two clocks. Freezing is for tests, whose other threads go on reading meanwhile: hence
 * atomics. A reader sees either clock whole; it is not promised both of the same instant, as with
 * the real ones. */
#include "base/clock.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

static _Atomic bool is_frozen;
static _Atomic int64_t frozen_wall_ms;
static _Atomic int64_t frozen_mono_us;

int64_t clock_wall_s(void)
{
    if (atomic_load_explicit(&is_frozen, memory_order_acquire)) {
        int64_t ms = atomic_load(&frozen_wall_ms);
        return ms >= 0 ? ms / 1000 : -((999 - ms) / 1000); /* rounds down before 1970 too */
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

int64_t clock_mono_us(void)
{
    if (atomic_load_explicit(&is_frozen, memory_order_acquire))
        return atomic_load(&frozen_mono_us);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

void clock_freeze(int64_t wall_s, int64_t mono_ms)
{
    atomic_store(&frozen_wall_ms, wall_s * 1000);
    atomic_store(&frozen_mono_us, mono_ms * 1000);
    atomic_store_explicit(&is_frozen, true, memory_order_release);
}

void clock_advance_ms(int64_t ms)
{
    assert(atomic_load(&is_frozen));
    atomic_fetch_add(&frozen_wall_ms, ms);
    atomic_fetch_add(&frozen_mono_us, ms * 1000);
}

void clock_real(void)
{
    atomic_store_explicit(&is_frozen, false, memory_order_release);
}

/* The calendar by hand, as gmtime_r takes a lock of the C library's and every log line and answer
 * comes here. Counts in years that begin in March, so that the leap day is the last of its year. */
char *clock_format(int64_t wall_s, char out[24])
{
    const int64_t first = -62167219200, last = 253402300799; /* the years 0000 to 9999 */
    int64_t t = wall_s < first ? first : wall_s > last ? last : wall_s;
    int64_t since = t - first;                 /* from 0000-01-01 */
    int64_t day = since / 86400 - 60 + 146097; /* from 1 March of the year -400 */
    int second = (int)(since % 86400);
    int64_t era = day / 146097; /* 400 years each */
    int64_t day_of_era = day % 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    int64_t year = (era - 1) * 400 + year_of_era + (month <= 2);
    int64_t day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    snprintf(out, 24, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)year % 10000,
             (unsigned)month % 100, (unsigned)day_of_month % 100, (unsigned)(second / 3600) % 100,
             (unsigned)(second / 60) % 60, (unsigned)second % 60);
    return out;
}
