# SPDX-License-Identifier: Apache-2.0
# Each layer lists its own files: sources, headers and tables.
include $(srcdir)/src/base/local.mk
include $(srcdir)/src/oci/local.mk
include $(srcdir)/src/cache/local.mk
include $(srcdir)/src/upstream/local.mk
include $(srcdir)/src/fetch/local.mk
include $(srcdir)/src/mirror/local.mk
include $(srcdir)/src/serve/local.mk
include $(srcdir)/src/bundle/local.mk
include $(srcdir)/src/app/local.mk
include $(srcdir)/src/cli/local.mk
