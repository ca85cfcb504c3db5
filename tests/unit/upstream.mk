unit_tests += test_credentials
test_credentials_SOURCES = tests/unit/test_credentials.c
unit_tests += test_upstream
test_upstream_SOURCES = tests/unit/test_upstream.c
unit_tests += test_token
test_token_SOURCES = tests/unit/test_token.c
unit_tests += test_health
test_health_SOURCES = tests/unit/test_health.c
