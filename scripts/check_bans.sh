#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Calls that the house style bans, and words that say that something is left for later.
cd "${top_srcdir:-$(dirname "$0")/..}" || exit 1
status=0
# found WHAT PATTERN FOLDER…: lines of C that match are a failure.
found() {
    what=$1 pattern=$2
    shift 2
    if grep -rnwE --include='*.[ch]' --include='*.def' "$pattern" "$@"; then
        echo "$what (HACKING.md)"
        status=1
    fi
}
calls='v?sprintf|strcpy|strncpy|strcat|strtok|atoi|gets|alloca|system|popen|rand|longjmp|setjmp|pthread_cancel'
found 'banned calls' "($calls)[[:space:]]*\(.*" src tests
found 'a typedef that hides a struct' 'typedef[[:space:]]+(struct|union|enum).*' src
found 'work left for later' 'TO''DO|FIX''ME|XX''X' src tests
exit $status
