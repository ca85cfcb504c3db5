# SPDX-License-Identifier: Apache-2.0
# PYTEST_ARGS chooses: make check-integration PYTEST_ARGS='-k blobs -x'. Where pytest-xdist is there, as many files of
# stories run at a time as there are processors, for stories mostly wait; PYTEST_JOBS=0 is one after the other.

PYTEST_JOBS = $$(nproc)

check-integration: tranship tests/faults/failing.so
	jobs=; if $(PYTHON) -c 'import xdist' 2>/dev/null; then jobs="-n $(PYTEST_JOBS) --dist loadfile"; fi; \
	TRANSHIP='$(abs_top_builddir)/tranship' PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -q -rs \
		-p no:cacheprovider $$jobs $(PYTEST_ARGS) '$(abs_top_srcdir)/tests/integration'

.PHONY: check-integration
