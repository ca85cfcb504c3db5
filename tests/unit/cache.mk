unit_tests += test_store
test_store_SOURCES = tests/unit/test_store.c tests/unit/data_folder.h
unit_tests += test_index
test_index_SOURCES = tests/unit/test_index.c tests/unit/data_folder.h
unit_tests += test_ledger
test_ledger_SOURCES = tests/unit/test_ledger.c tests/unit/data_folder.h
unit_tests += test_flow
test_flow_SOURCES = tests/unit/test_flow.c
