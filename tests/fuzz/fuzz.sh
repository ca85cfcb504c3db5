#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh TARGET…: builds each with libFuzzer and the sanitizers in ./build-fuzz, runs it for FUZZ_SECONDS. What it finds
# interesting stays in ./build-fuzz/found; an input that breaks a claim becomes ./build-fuzz/crash-… and ends the run.
set -e
: "${CC:=clang}" "${FUZZ_SECONDS:=60}" "${top_srcdir:?}"
flags="-std=gnu17 -D_GNU_SOURCE -g -O1 -I$top_srcdir/src -fsanitize=address,undefined -fno-sanitize-recover=all"
mkdir -p build-fuzz/objects
src=$top_srcdir/src
for source in "$src"/base/*.c "$src"/oci/*.c "$src"/cache/store.c "$src"/upstream/*.c "$src"/app/[!a]*.c \
    "$src"/bundle/contents.c "$src"/bundle/digests.c "$src"/bundle/receipt.c "$src"/bundle/tar.c "$src"/bundle/volumes.c; do
    object=$(echo "${source#"$src"/}" | tr / _)
    $CC $flags -fsanitize=fuzzer-no-link $DEPS_CFLAGS -c "$source" -o "build-fuzz/objects/${object%.c}.o"
done
for name; do
    $CC $flags -fsanitize=fuzzer $DEPS_CFLAGS "$top_srcdir/tests/fuzz/fuzz_$name.c" build-fuzz/objects/*.o -o "build-fuzz/fuzz_$name" \
        $DEPS_LIBS -lpthread
done
for name; do
    mkdir -p "build-fuzz/found/$name"
    dictionary=$top_srcdir/tests/fuzz/$name.dict
    [ -f "$dictionary" ] && with=-dict=$dictionary || with=
    echo "== $name for $FUZZ_SECONDS s"
    log=build-fuzz/$name.log
    "build-fuzz/fuzz_$name" -max_total_time="$FUZZ_SECONDS" -max_len=8192 -timeout=10 -print_final_stats=1 $with \
        -artifact_prefix=build-fuzz/ "build-fuzz/found/$name" "$top_srcdir/tests/fuzz/corpus/$name" >"$log" 2>&1 || {
        tail -n 40 "$log"
        exit 1
    }
    grep number_of_executed_units "$log"
done
