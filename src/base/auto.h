/* SPDX-License-Identifier: Apache-2.0
 * Cleanup attributes: every exit is a plain return. Initialise at the declaration, hand over with
 * take(). */
#ifndef BASE_AUTO_H
#define BASE_AUTO_H

#include <stdlib.h>
#include <unistd.h>

static inline void auto_free_(void *p)
{
    free(*(void **)p);
}

static inline void auto_close_(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* autofree char *s = …;   autoclose int fd = …; */
#define autofree __attribute__((cleanup(auto_free_)))
#define autoclose __attribute__((cleanup(auto_close_)))

/* AUTO_UNREF(flow, flow_unref) once after the type lets auto_unref(flow) struct flow *f = …; drop a
 * reference. */
#define AUTO_UNREF(name, function)                                                                 \
    static inline void auto_unref_##name(struct name **p)                                          \
    {                                                                                              \
        if (*p)                                                                                    \
            function(*p);                                                                          \
    }
#define auto_unref(name) __attribute__((cleanup(auto_unref_##name)))

/* Gives the pointer away: returns its value and leaves NULL behind. */
#define take(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })

/* The same for descriptors: leaves -1 behind. */
#define take_fd(fd)                                                                                \
    __extension__({                                                                                \
        int taken_ = (fd);                                                                         \
        (fd) = -1;                                                                                 \
        taken_;                                                                                    \
    })

#endif
