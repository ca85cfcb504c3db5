tranship_sources += src/bundle/contents.c src/bundle/contents.h
tranship_sources += src/bundle/digests.c src/bundle/digests.h
tranship_sources += src/bundle/export.c src/bundle/export.h
tranship_sources += src/bundle/layout.c src/bundle/layout.h
tranship_sources += src/bundle/receipt.c src/bundle/receipt.h
tranship_sources += src/bundle/select.c src/bundle/select.h
tranship_sources += src/bundle/tar.c src/bundle/tar.h
tranship_sources += src/bundle/volumes.c src/bundle/volumes.h
