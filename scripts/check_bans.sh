#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Calls that the house style bans, and words that say that something is left for later.
cd "${top_srcdir:-$(dirname "$0")/..}" || exit 1
status=0
if grep -nE '\b(sprintf|strcpy|strcat|strtok|atoi|gets|alloca|system|popen|rand|strncpy|setjmp|longjmp|pthread_cancel)\(' src/*/*.c src/*/*.h; then
    echo "banned calls (HACKING.md)"
    status=1
fi
if grep -nE '\b(TO''DO|FIX''ME|XX''X)\b' src/*/*.c src/*/*.h; then
    echo "work left for later: finish it or open an issue"
    status=1
fi
exit $status
