integration_files = \
	tests/integration/conftest.py \
	tests/integration/fake_registry.py \
	tests/integration/fake_server.py \
	tests/integration/harness.py \
	tests/integration/images.py \
	tests/integration/parts.py \
	tests/integration/test_blobs.py \
	tests/integration/test_clients.py \
	tests/integration/test_degraded_upstream.py \
	tests/integration/test_fake_registry.py \
	tests/integration/test_filling.py \
	tests/integration/test_freshness.py \
	tests/integration/test_herd.py \
	tests/integration/test_kills.py \
	tests/integration/test_listings.py \
	tests/integration/test_lying_upstreams.py \
	tests/integration/test_manifests.py \
	tests/integration/test_network.py \
	tests/integration/test_ping_and_routing.py \
	tests/integration/test_real_registry.py \
	tests/integration/test_slow_clients.py \
	tests/integration/test_start_and_stop.py \
	tests/integration/test_upstream_auth.py \
	tests/integration/wire.py

EXTRA_DIST += $(integration_files)

check-integration: tranship
	TRANSHIP=$(abs_builddir)/tranship /usr/bin/python3 -m pytest -q -p no:cacheprovider $(srcdir)/tests/integration

.PHONY: check-integration
