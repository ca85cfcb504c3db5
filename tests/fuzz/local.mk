# Each target is linked with replay.c and run over its corpus by make check; make fuzz looks for new inputs.
fuzz_targets =
fuzz_targets += access
check_PROGRAMS += replay_access
replay_access_SOURCES = tests/fuzz/fuzz_access.c tests/fuzz/fuzz.h tests/fuzz/folder.h tests/fuzz/replay.c
fuzz_targets += bundle
check_PROGRAMS += replay_bundle
replay_bundle_SOURCES = tests/fuzz/fuzz_bundle.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += challenge
check_PROGRAMS += replay_challenge
replay_challenge_SOURCES = tests/fuzz/fuzz_challenge.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += config
check_PROGRAMS += replay_config
replay_config_SOURCES = tests/fuzz/fuzz_config.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += credentials
check_PROGRAMS += replay_credentials
replay_credentials_SOURCES = tests/fuzz/fuzz_credentials.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += digest
check_PROGRAMS += replay_digest
replay_digest_SOURCES = tests/fuzz/fuzz_digest.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += head
check_PROGRAMS += replay_head
replay_head_SOURCES = tests/fuzz/fuzz_head.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += import
check_PROGRAMS += replay_import
replay_import_SOURCES = tests/fuzz/fuzz_import.c tests/fuzz/fuzz.h tests/fuzz/folder.h tests/fuzz/replay.c
fuzz_targets += list
check_PROGRAMS += replay_list
replay_list_SOURCES = tests/fuzz/fuzz_list.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += manifest
check_PROGRAMS += replay_manifest
replay_manifest_SOURCES = tests/fuzz/fuzz_manifest.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += problem
check_PROGRAMS += replay_problem
replay_problem_SOURCES = tests/fuzz/fuzz_problem.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += range
check_PROGRAMS += replay_range
replay_range_SOURCES = tests/fuzz/fuzz_range.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += reference
check_PROGRAMS += replay_reference
replay_reference_SOURCES = tests/fuzz/fuzz_reference.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += route
check_PROGRAMS += replay_route
replay_route_SOURCES = tests/fuzz/fuzz_route.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += segments
check_PROGRAMS += replay_segments
replay_segments_SOURCES = tests/fuzz/fuzz_segments.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += signature
check_PROGRAMS += replay_signature
replay_signature_SOURCES = tests/fuzz/fuzz_signature.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += text
check_PROGRAMS += replay_text
replay_text_SOURCES = tests/fuzz/fuzz_text.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += token
check_PROGRAMS += replay_token
replay_token_SOURCES = tests/fuzz/fuzz_token.c tests/fuzz/fuzz.h tests/fuzz/replay.c
fuzz_targets += url
check_PROGRAMS += replay_url
replay_url_SOURCES = tests/fuzz/fuzz_url.c tests/fuzz/fuzz.h tests/fuzz/replay.c
TESTS += tests/fuzz/replay.sh

# FUZZ_SECONDS=600 FUZZ_TARGETS='url import' make fuzz
fuzz:
	CC=clang DEPS_CFLAGS='$(DEPS_CFLAGS)' DEPS_LIBS='$(DEPS_LIBS) $(LIBS)' top_srcdir=$(abs_srcdir) VERSION='$(VERSION)' \
		/bin/sh $(srcdir)/tests/fuzz/fuzz.sh $${FUZZ_TARGETS:-$(fuzz_targets)}

clean-local:
	rm -rf build-fuzz

.PHONY: fuzz
