tranship_sources += src/app/app.c src/app/app.h
tranship_sources += src/app/config.c src/app/config.h src/app/config.def
