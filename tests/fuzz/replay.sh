#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs each fuzz target over its committed corpus. In the build folder, with top_srcdir set.
status=0 count=0
for target in "$top_srcdir"/tests/fuzz/fuzz_*.c; do
    name=${target##*/fuzz_}
    name=${name%.c}
    ./replay_"$name" "$top_srcdir/tests/fuzz/corpus/$name" || status=1
    count=$((count + 1))
done
[ $count -gt 1 ] && exit $status
echo "no fuzz targets in $top_srcdir"
exit 1
