unit_tests += test_exchange
test_exchange_SOURCES = tests/unit/test_exchange.c tests/unit/asking.h tests/unit/scripted.h
