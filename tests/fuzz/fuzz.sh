#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh TARGET…: builds each with libFuzzer and the sanitizers in ./build-fuzz, runs each for FUZZ_SECONDS, as many at a
# time as there are processors. What they find interesting stays in ./build-fuzz/found; an input that breaks a claim
# becomes ./build-fuzz/<target>-crash-… and is told of at the end.
set -e
: "${CC:=clang}" "${FUZZ_SECONDS:=60}" "${top_srcdir:?}"
flags="-std=gnu17 -D_GNU_SOURCE -DPACKAGE_VERSION=\"${VERSION:-0}\" -g -O1 -I$top_srcdir/src -fno-omit-frame-pointer"
flags="$flags -fsanitize=address,undefined -fno-sanitize-recover=all $DEPS_CFLAGS"
export CC FUZZ_SECONDS top_srcdir flags DEPS_LIBS
here=build-fuzz
mkdir -p $here/objects
many="xargs -P $(nproc) -n 1 sh -c"

# Everything but the command line. An object is made again when its source or any header is newer.
headers=$(find "$top_srcdir/src" -name '*.[hd]*' -newer $here/libtranship.a 2>/dev/null | head -n 1) || true
[ -f $here/libtranship.a ] && [ -z "$headers" ] || rm -f $here/objects/*.o
(cd "$top_srcdir/src" && ls ./[!c]*/*.c ./cache/*.c) | $many '
    source=$top_srcdir/src/$0 object=build-fuzz/objects/$(echo "${0#./}" | tr / _).o
    [ "$object" -nt "$source" ] || exec $CC $flags -fsanitize=fuzzer-no-link -c "$source" -o "$object"'
rm -f $here/libtranship.a
ar cr $here/libtranship.a $here/objects/*.o
printf '%s\n' "$@" | $many 'exec $CC $flags -fsanitize=fuzzer "$top_srcdir/tests/fuzz/fuzz_$0.c" build-fuzz/libtranship.a \
    -o "build-fuzz/fuzz_$0" $DEPS_LIBS -lpthread'

printf '%s\n' "$@" | $many '
    mkdir -p "build-fuzz/found/$0"
    dictionary=$top_srcdir/tests/fuzz/$0.dict with=
    [ ! -f "$dictionary" ] || with=-dict=$dictionary
    result=PASS
    "build-fuzz/fuzz_$0" -max_total_time="$FUZZ_SECONDS" -max_len=16384 -timeout=10 -print_final_stats=1 $with \
        -artifact_prefix="build-fuzz/$0-" "build-fuzz/found/$0" "$top_srcdir/tests/fuzz/corpus/$0" \
        >"build-fuzz/$0.log" 2>&1 || result=FAIL
    count=$(sed -n "s/^stat::number_of_executed_units: *//p" "build-fuzz/$0.log")
    echo "$result: fuzz $0: ${count:-0} inputs in $FUZZ_SECONDS s"
    [ $result = PASS ] || { tail -n 40 "build-fuzz/$0.log"; exit 1; }'
