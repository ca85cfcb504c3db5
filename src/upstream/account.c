/* SPDX-License-Identifier: Apache-2.0
 * Two lists that only grow: what is shared was complete before it was linked. */
#include "upstream/account.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static struct {
    const char *_Atomic names[ACCOUNT_REGISTRIES_MAX]; /* the first NULL ends them */
    struct account *_Atomic first;
    struct account *last;
    size_t count;
} book = {.names = {""}};

/* What has that place from now on; another thread may be putting a name there as well. */
static const char *take_place(unsigned i, const char *name)
{
    const char *taken = NULL;
    char *mine = alloc_string(name);
    if (atomic_compare_exchange_strong(&book.names[i], &taken, mine))
        return mine;
    free(mine);
    return taken;
}

unsigned account_registry(const char *name)
{
    unsigned i = 1;
    for (; i + 1 < ACCOUNT_REGISTRIES_MAX; i++) {
        const char *there = book.names[i] ? book.names[i] : take_place(i, name);
        if (strcmp(there, name) == 0)
            return i;
    }
    take_place(i, "other");
    return i;
}

const char *account_registry_name(unsigned number)
{
    return number < ACCOUNT_REGISTRIES_MAX ? book.names[number] : NULL;
}

const char *account_role(bool is_origin)
{
    return is_origin ? "origin" : "mirror";
}

static struct account *add(const char *registry, const char *url, const char *role)
{
    struct account *a = alloc_zero(sizeof *a);
    a->registry = alloc_string(registry);
    a->url = alloc_string(url);
    a->role = role;
    if (book.last)
        __atomic_store_n(&book.last->next, a, __ATOMIC_RELEASE);
    else
        book.first = a;
    book.last = a;
    book.count++;
    return a;
}

struct account *account_of(const char *registry, const char *url, bool is_origin)
{
    const char *role = account_role(is_origin);
    for (struct account *a = book.first; a; a = a->next)
        if (a->role == role && strcmp(a->url, url) == 0 && strcmp(a->registry, registry) == 0)
            return a;
    if (book.count < ACCOUNT_SOURCES_MAX - 1)
        return add(registry, url, role);
    return book.count < ACCOUNT_SOURCES_MAX ? add("other", "other", "other") : book.last;
}

const struct account *account_next(const struct account *a)
{
    return a ? __atomic_load_n(&a->next, __ATOMIC_ACQUIRE) : book.first;
}
