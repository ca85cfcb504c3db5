/* SPDX-License-Identifier: Apache-2.0
 * The mark stands at the repository, which is where an import writes. */
#include "cache/imported.h"

#include "cache/index.h"
#include "cache/sql.h"

int imported_put(struct index *x, const char *registry, const char *repository, struct error *e)
{
    autoquery struct query q = query_start(index_writer(x), SQL_PUT_IMPORTED);
    query_text(&q, registry);
    query_text(&q, repository);
    return query_run(&q, e);
}

int imported_is_known(struct index_reader *r, const char *registry, const char *repository,
                      struct error *e)
{
    autoquery struct query q = query_start(index_reading(r), SQL_FIND_REPOSITORY);
    query_text(&q, registry);
    query_text(&q, repository);
    return query_step(&q, e);
}

int imported_each_registry(struct index_reader *r, bool (*visit)(const char *registry, void *cls),
                           void *cls, struct error *e)
{
    autoquery struct query q = query_start(index_reading(r), SQL_EACH_IMPORTED);
    return query_each_text(&q, visit, cls, e);
}
