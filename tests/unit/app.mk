unit_tests += test_option
test_option_SOURCES = tests/unit/test_option.c
unit_tests += test_config
test_config_SOURCES = tests/unit/test_config.c
unit_tests += test_progress
test_progress_SOURCES = tests/unit/test_progress.c src/cli/progress.c src/cli/show.c
