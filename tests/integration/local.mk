# SPDX-License-Identifier: Apache-2.0
# PYTEST_ARGS chooses: make check-integration PYTEST_ARGS='-k blobs -x'.

check-integration: tranship tests/faults/failing.so
	TRANSHIP='$(abs_top_builddir)/tranship' PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -q -rs \
		-p no:cacheprovider $(PYTEST_ARGS) '$(abs_top_srcdir)/tests/integration'

.PHONY: check-integration
