# The commands' sources are the program's, not the library's.
unit_tests += test_show
test_show_SOURCES = tests/unit/test_show.c src/cli/show.c
unit_tests += test_arguments
test_arguments_SOURCES = tests/unit/test_arguments.c src/cli/arguments.c
unit_tests += test_table
test_table_SOURCES = tests/unit/test_table.c src/cli/table.c src/cli/show.c
