cli_sources += src/cli/arguments.c src/cli/arguments.h
cli_sources += src/cli/cli.h
cli_sources += src/cli/cmd_check_config.c
cli_sources += src/cli/cmd_export.c
cli_sources += src/cli/cmd_keygen.c
cli_sources += src/cli/cmd_receipt.c
cli_sources += src/cli/cmd_serve.c
cli_sources += src/cli/main.c
