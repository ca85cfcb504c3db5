tranship_sources += src/fetch/authorize.c src/fetch/authorize.h
tranship_sources += src/fetch/exchange.c src/fetch/exchange.h
tranship_sources += src/fetch/fetcher.c src/fetch/fetcher.h
tranship_sources += src/fetch/listing.c src/fetch/listing.h
tranship_sources += src/fetch/pull.c src/fetch/pull.h
tranship_sources += src/fetch/transfer.c src/fetch/transfer.h
tranship_sources += src/fetch/inside.h
