unit_tests += test_option
test_option_SOURCES = tests/unit/test_option.c
unit_tests += test_config
test_config_SOURCES = tests/unit/test_config.c
