unit_tests += test_exchange
test_exchange_SOURCES = tests/unit/test_exchange.c tests/unit/asking.h tests/unit/scripted.h
unit_tests += test_local
test_local_SOURCES = tests/unit/test_local.c
unit_tests += test_race
test_race_SOURCES = tests/unit/test_race.c tests/unit/scripted.h
unit_tests += test_plan
test_plan_SOURCES = tests/unit/test_plan.c
