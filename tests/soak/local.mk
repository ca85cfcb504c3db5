# SPDX-License-Identifier: Apache-2.0
# Ten minutes, or SOAK_SECONDS; SOAK_SEED repeats the faults of an earlier run.

soak: tranship
	TRANSHIP='$(abs_top_builddir)/tranship' PYTHONDONTWRITEBYTECODE=1 $(PYTHON) '$(abs_top_srcdir)/tests/soak/soak.py'

.PHONY: soak
