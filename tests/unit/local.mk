include $(srcdir)/tests/unit/base.mk
include $(srcdir)/tests/unit/oci.mk
include $(srcdir)/tests/unit/cache.mk
include $(srcdir)/tests/unit/upstream.mk
include $(srcdir)/tests/unit/fetch.mk
include $(srcdir)/tests/unit/mirror.mk
include $(srcdir)/tests/unit/serve.mk
include $(srcdir)/tests/unit/app.mk

check_PROGRAMS += $(unit_tests)
TESTS += $(unit_tests)
