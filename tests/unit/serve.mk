unit_tests += test_route
test_route_SOURCES = tests/unit/test_route.c
unit_tests += test_listen
test_listen_SOURCES = tests/unit/test_listen.c
unit_tests += test_connection
test_connection_SOURCES = tests/unit/test_connection.c
unit_tests += test_access
test_access_SOURCES = tests/unit/test_access.c
