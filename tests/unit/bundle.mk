unit_tests += test_digests
test_digests_SOURCES = tests/unit/test_digests.c
unit_tests += test_tar
test_tar_SOURCES = tests/unit/test_tar.c
unit_tests += test_volumes
test_volumes_SOURCES = tests/unit/test_volumes.c
unit_tests += test_import
test_import_SOURCES = tests/unit/test_import.c
