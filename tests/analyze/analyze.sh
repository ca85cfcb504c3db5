#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# analyze.sh: gcc's analyzer and cppcheck over src, from the top of the sources, without building. Says nothing and
# returns 0 if neither finds anything. Both see tests/analyze/uthash.h in the place of the real one; cppcheck, which opens
# no system headers, is given the one whose macros change what a statement is.
flags='-D_GNU_SOURCE -DPACKAGE_VERSION="0" -Itests/analyze -Isrc'
export flags
status=0
printf '%s\n' src/*/*.c | xargs -P "$(nproc)" -n 4 sh -c '
    status=0
    for source; do gcc -std=gnu17 $flags -Werror -fanalyzer -c "$source" -o /dev/null || status=1; done
    exit $status' analyze || status=1
queue=$(echo '#include <sys/queue.h>' | gcc -M -x c - | grep -o '/[^ ]*sys/queue\.h')
# shellcheck disable=SC2086
cppcheck --quiet -j "$(nproc)" --std=c11 --enable=warning,portability,performance --error-exitcode=1 $flags \
    --include="$queue" src || status=1
exit $status
