tranship_sources += src/app/app.c src/app/app.h
tranship_sources += src/app/config.c src/app/config.h src/app/config.def
tranship_sources += src/app/config_file.c src/app/config_file.h
tranship_sources += src/app/mistakes.c src/app/mistakes.h
tranship_sources += src/app/option.c src/app/option.h
tranship_sources += src/app/option_fields.h src/app/option_rows.h src/app/option_end.h
tranship_sources += src/app/registry.c src/app/registry.h src/app/registry.def src/app/mirror.def
tranship_sources += src/app/world.c src/app/world.h
