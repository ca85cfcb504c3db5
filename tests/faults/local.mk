# SPDX-License-Identifier: Apache-2.0
# Preloaded by the stories of a bad disk; never instrumented, and no part of the program.

tests/faults/failing.so: $(srcdir)/tests/faults/failing.c
	@$(MKDIR_P) tests/faults
	$(AM_V_CC)$(CC) -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Wshadow $(WERROR) -O2 -g -fPIC -shared -o $@ \
		$(srcdir)/tests/faults/failing.c

CLEANFILES += tests/faults/failing.so
