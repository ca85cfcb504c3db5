#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes ./configure.
set -e
cd "$(dirname "$0")"
mkdir -p build-aux
exec autoreconf --install --warnings=all
