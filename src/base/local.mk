tranship_sources += \
    src/base/alloc.c \
    src/base/alloc.h \
    src/base/auto.h \
    src/base/clock.c \
    src/base/clock.h \
    src/base/error.c \
    src/base/error.def \
    src/base/error.h \
    src/base/file.c \
    src/base/file.h \
    src/base/json.c \
    src/base/json.h \
    src/base/json_lines.c \
    src/base/json_lines.h \
    src/base/log.c \
    src/base/log.h \
    src/base/mailbox.c \
    src/base/mailbox.h \
    src/base/metrics.c \
    src/base/metrics.def \
    src/base/metrics.h \
    src/base/recall.c \
    src/base/recall.h \
    src/base/str.c \
    src/base/str.h \
    src/base/thread.c \
    src/base/thread.h
