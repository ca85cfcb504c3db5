EXTRA_DIST += tests/bench/bench.py

bench: tranship
	TRANSHIP=$(abs_top_builddir)/tranship /usr/bin/python3 $(srcdir)/tests/bench/bench.py

bench-quick: tranship
	TRANSHIP=$(abs_top_builddir)/tranship /usr/bin/python3 $(srcdir)/tests/bench/bench.py --quick

.PHONY: bench bench-quick
