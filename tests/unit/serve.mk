unit_tests += test_route
test_route_SOURCES = tests/unit/test_route.c
