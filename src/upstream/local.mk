tranship_sources += src/upstream/account.c src/upstream/account.h
tranship_sources += src/upstream/credentials.c src/upstream/credentials.h
tranship_sources += src/upstream/health.c src/upstream/health.h
tranship_sources += src/upstream/token.c src/upstream/token.h
tranship_sources += src/upstream/upstream.c src/upstream/upstream.h
