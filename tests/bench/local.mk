# BENCH_ARGS chooses: make bench BENCH_ARGS='--only small --only herd', '--only bundle --bundle-gb 20', or BENCH_ARGS=--write.
BENCH = TRANSHIP='$(abs_top_builddir)/tranship' PYTHONDONTWRITEBYTECODE=1 $(PYTHON) \
	'$(abs_top_srcdir)/tests/bench/bench.py'

bench: tranship
	$(BENCH) $(BENCH_ARGS)

bench-quick: tranship
	$(BENCH) --quick $(BENCH_ARGS)

# Which policy keeps the right things; five minutes.
simulate:
	$(PYTHON) '$(abs_top_srcdir)/tests/bench/simulate.py' $(SIMULATE_ARGS)

.PHONY: bench bench-quick simulate
