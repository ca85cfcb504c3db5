#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The manual against config.def, and against what the program itself says with --help.
top=${top_srcdir:-$(dirname "$0")/..}
status=0
"${PYTHON:-/usr/bin/python3}" "$top/scripts/gen_man.py" --check "${top_builddir:-$top/build}/tranship" || status=1
if command -v mandoc >/dev/null; then
    mandoc -T lint -W warning "$top"/docs/man/*.[1-9] || status=1
fi
exit $status
