unit_tests += test_freshness
test_freshness_SOURCES = tests/unit/test_freshness.c
