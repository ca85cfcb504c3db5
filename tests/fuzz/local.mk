# Each target is linked with replay.c and run over its corpus by make check; make fuzz looks for new inputs.
fuzz_targets = digest reference manifest challenge range problem config bundle
check_PROGRAMS += replay_digest
replay_digest_SOURCES = tests/fuzz/fuzz_digest.c tests/fuzz/fuzz.h tests/fuzz/replay.c
check_PROGRAMS += replay_reference
replay_reference_SOURCES = tests/fuzz/fuzz_reference.c tests/fuzz/fuzz.h tests/fuzz/replay.c
check_PROGRAMS += replay_manifest
replay_manifest_SOURCES = tests/fuzz/fuzz_manifest.c tests/fuzz/fuzz.h tests/fuzz/replay.c
check_PROGRAMS += replay_challenge
replay_challenge_SOURCES = tests/fuzz/fuzz_challenge.c tests/fuzz/fuzz.h tests/fuzz/replay.c
check_PROGRAMS += replay_range
replay_range_SOURCES = tests/fuzz/fuzz_range.c tests/fuzz/fuzz.h tests/fuzz/replay.c
check_PROGRAMS += replay_problem
replay_problem_SOURCES = tests/fuzz/fuzz_problem.c tests/fuzz/fuzz.h tests/fuzz/replay.c
check_PROGRAMS += replay_config
replay_config_SOURCES = tests/fuzz/fuzz_config.c tests/fuzz/fuzz.h tests/fuzz/replay.c
check_PROGRAMS += replay_bundle
replay_bundle_SOURCES = tests/fuzz/fuzz_bundle.c tests/fuzz/fuzz.h tests/fuzz/replay.c
TESTS += tests/fuzz/replay.sh
EXTRA_DIST += tests/fuzz/replay.sh tests/fuzz/fuzz.sh tests/fuzz/corpus
EXTRA_DIST += tests/fuzz/manifest.dict tests/fuzz/challenge.dict tests/fuzz/range.dict tests/fuzz/config.dict tests/fuzz/bundle.dict

# FUZZ_SECONDS=600 make fuzz
fuzz:
	CC=clang DEPS_CFLAGS='$(DEPS_CFLAGS)' DEPS_LIBS='$(DEPS_LIBS)' top_srcdir=$(abs_srcdir) \
		/bin/sh $(srcdir)/tests/fuzz/fuzz.sh $(fuzz_targets)

clean-local:
	rm -rf build-fuzz

.PHONY: fuzz
