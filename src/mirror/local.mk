tranship_sources += src/mirror/answer.c src/mirror/answer.h
tranship_sources += src/mirror/content.c src/mirror/content.h
tranship_sources += src/mirror/fill.c src/mirror/fill.h
tranship_sources += src/mirror/flights.c src/mirror/flights.h
tranship_sources += src/mirror/freshness.c src/mirror/freshness.h
tranship_sources += src/mirror/known.c src/mirror/known.h
tranship_sources += src/mirror/mirror.c src/mirror/mirror.h
tranship_sources += src/mirror/question.c src/mirror/question.h
