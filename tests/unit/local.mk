# SPDX-License-Identifier: Apache-2.0
# Each layer's file adds to unit_tests and names the sources of each program.
include $(srcdir)/tests/unit/base.mk
include $(srcdir)/tests/unit/oci.mk
include $(srcdir)/tests/unit/cache.mk
include $(srcdir)/tests/unit/upstream.mk
include $(srcdir)/tests/unit/fetch.mk
include $(srcdir)/tests/unit/mirror.mk
include $(srcdir)/tests/unit/serve.mk
include $(srcdir)/tests/unit/bundle.mk
include $(srcdir)/tests/unit/app.mk
include $(srcdir)/tests/unit/cli.mk

if HAS_CMOCKA
check_PROGRAMS += $(unit_tests)
TESTS += $(unit_tests)
else
check-local:
	@echo 'make check needs cmocka (Debian: libcmocka-dev); install it and configure again' >&2; exit 1
endif
