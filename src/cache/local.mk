tranship_sources += src/cache/flow.c src/cache/flow.h src/cache/flow_hash.c src/cache/flow_inside.h
tranship_sources += src/cache/hashing.c src/cache/hashing.h
tranship_sources += src/cache/index.c src/cache/index.h
tranship_sources += src/cache/ledger.c src/cache/ledger.h src/cache/scrub.c src/cache/scrub.h
tranship_sources += src/cache/segments.c src/cache/segments.h
tranship_sources += src/cache/sql.c src/cache/sql.def src/cache/sql.h src/cache/store.c src/cache/store.h
