tranship_sources += src/serve/admin.c
tranship_sources += src/serve/lists.c
tranship_sources += src/serve/reply.c src/serve/reply.h
tranship_sources += src/serve/request.c src/serve/request.h
tranship_sources += src/serve/route.c src/serve/route.h
tranship_sources += src/serve/server.c src/serve/server.h
tranship_sources += src/serve/tail.c src/serve/tail.h
tranship_sources += src/serve/v2.c
