tranship_sources += src/oci/challenge.c src/oci/challenge.h
tranship_sources += src/oci/digest.c src/oci/digest.h
tranship_sources += src/oci/manifest.c src/oci/manifest.h
tranship_sources += src/oci/problem.c src/oci/problem.h
tranship_sources += src/oci/range.c src/oci/range.h
tranship_sources += src/oci/reference.c src/oci/reference.h
tranship_sources += src/oci/signature.c src/oci/signature.h
tranship_sources += src/oci/tag_pattern.c src/oci/tag_pattern.h
