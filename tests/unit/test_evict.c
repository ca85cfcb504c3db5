/* SPDX-License-Identifier: Apache-2.0
 * What goes, and in which order. Blobs are texts; each takes a block of 4 KiB. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "cache/evict.h"
#include "cache/index.h"
#include "cache/room.h"
#include "cache/sql.h"
#include "data_folder.h"

#define HUB "docker.io"
enum { BLOCK = 4096 };

struct opened {
    struct data_folder *folder;
    struct index *x;
    struct evict *v;
    struct room *room;
    int64_t now_s;
};

static void open_all(struct opened *o)
{
    struct error e = {0};
    bool rebuilt = false;
    o->x = index_open(o->folder->store, &rebuilt, &e);
    if (!o->x)
        fail_msg("%s", e.text);
    o->v = evict_new(o->folder->store, o->x);
    o->room = store_room(o->folder->store);
}

static void close_all(struct opened *o)
{
    evict_free(o->v);
    index_close(o->x);
}

static int setup(void **state)
{
    struct opened *o = calloc(1, sizeof *o);
    assert_non_null(o);
    folder_setup((void **)&o->folder);
    open_all(o);
    o->now_s = 1000;
    clock_freeze(o->now_s, 1000000);
    *state = o;
    return 0;
}

static int teardown(void **state)
{
    struct opened *o = *state;
    clock_real();
    close_all(o);
    folder_teardown((void **)&o->folder);
    free(o);
    return 0;
}

static void blob(struct opened *o, const char *name)
{
    struct digest d = digest_of_text(name);
    clock_freeze(++o->now_s, 1000000);
    hold_text(o->folder, name);
    WRITE(o, index_put_blob(o->x, &d, strlen(name), o->now_s, e));
}

/* An image named so, of that repository and tag, with children named by a NULL-ended list; those
 * whose name begins with "m" are manifests. Its own bytes are its name. */
static void image(struct opened *o, const char *name, const char *const *children)
{
    struct digest d = digest_of_text(name);
    struct child list[8] = {0};
    char type[] = "", platform[] = "", none[] = "";
    struct manifest m = {.artifact_type = none, .annotations = none, .children = list};
    slice_copy(slice_of(MEDIA_OCI_MANIFEST), m.media_type, sizeof m.media_type);
    for (; children[m.child_count]; m.child_count++) {
        struct child *c = &list[m.child_count];
        c->kind = children[m.child_count][0] == 'm' ? CHILD_MANIFEST : CHILD_LAYER;
        c->digest = digest_of_text(children[m.child_count]);
        c->size_bytes = (int64_t)strlen(children[m.child_count]);
        c->media_type = type;
        c->platform = platform;
    }
    blob(o, name);
    WRITE(o, index_put_manifest(o->x, &d, &m, HUB, "library/a", e));
    WRITE(o, index_put_tag(o->x, HUB, "library/a", name, &d, o->now_s, e));
}

#define IMAGE(o, name, ...) image(o, name, (const char *const[]){__VA_ARGS__, NULL})

static void use(struct opened *o, const char *name)
{
    struct digest d = digest_of_text(name);
    WRITE(o, index_touch(o->x, &d, ++o->now_s, e));
}

static bool is_held(struct opened *o, const char *name)
{
    struct digest d = digest_of_text(name);
    return store_has(o->folder->store, &d, NULL);
}

static void add_name(const struct evicted *gone, void *cls)
{
    str_format(cls, "%s%s", gone->is_partial ? "partial" : gone->image, " ");
}

static int obey(struct opened *o, int64_t bytes, bool is_dry,
                void (*visit)(const struct evicted *gone, void *cls), void *cls, struct error *e)
{
    struct evict_order order = {.bytes = bytes, .is_dry = is_dry, .visit = visit, .cls = cls};
    int got;
    while ((got = evict_some(o->v, &order, e)) > 0)
        ;
    return got;
}

/* Until that many blocks are left. */
static void evict_to(struct opened *o, int blocks)
{
    OK(obey(o, blocks * BLOCK, false, NULL, NULL, e));
}

/* --- the order -------------------------------------------------------------------------------- */

static void what_came_first_and_was_not_used_goes_first(void **state)
{
    struct opened *o = *state;
    blob(o, "a"), blob(o, "b"), blob(o, "c"), blob(o, "d");
    use(o, "a");
    evict_to(o, 3);
    assert_true(is_held(o, "a"));
    assert_false(is_held(o, "b"));
    evict_to(o, 2);
    assert_false(is_held(o, "c"));
    evict_to(o, 1);
    assert_true(is_held(o, "a")); /* the hand is past it still */
    assert_false(is_held(o, "d"));
    evict_to(o, 0);
    assert_false(is_held(o, "a"));
    assert_int_equal(room_taken(o->room), 0);
}

static void use_counts_once(void **state)
{
    struct opened *o = *state;
    blob(o, "a"), blob(o, "b");
    use(o, "a"), use(o, "b");
    evict_to(o, 1);
    assert_false(is_held(o, "a"));
    assert_true(is_held(o, "b"));
}

static void image_goes_whole_and_what_others_share_stays(void **state)
{
    struct opened *o = *state;
    IMAGE(o, "one", "base", "own 1");
    IMAGE(o, "two", "base", "own 2");
    blob(o, "base"), blob(o, "own 1"), blob(o, "own 2");
    evict_to(o, 3);
    assert_false(is_held(o, "one"));
    assert_false(is_held(o, "own 1"));
    assert_true(is_held(o, "two"));
    assert_true(is_held(o, "own 2"));
    assert_true(is_held(o, "base"));
    evict_to(o, 2); /* now nobody shares it */
    assert_false(is_held(o, "two"));
}

static void layer_that_is_used_keeps_its_image_and_a_shared_one_does_not(void **state)
{
    struct opened *o = *state;
    IMAGE(o, "one", "m1");
    IMAGE(o, "m1", "base", "own 1");
    IMAGE(o, "two", "base");
    blob(o, "base"), blob(o, "own 1");
    use(o, "base"), use(o, "own 1"); /* read a piece at a time, without its manifest */
    evict_to(o, 4);
    assert_false(is_held(o, "two"));
    assert_true(is_held(o, "one"));
    assert_true(is_held(o, "m1"));
    assert_true(is_held(o, "own 1"));
    assert_true(is_held(o, "base"));
}

static void index_of_an_image_takes_its_manifests_and_layers_along(void **state)
{
    struct opened *o = *state;
    IMAGE(o, "one", "m1", "m2");
    IMAGE(o, "m1", "shared", "l1");
    IMAGE(o, "m2", "shared", "l2");
    blob(o, "shared"), blob(o, "l1"), blob(o, "l2"), blob(o, "later");
    evict_to(o, 1);
    assert_true(is_held(o, "later"));
}

static void pinned_stays_whatever_is_wanted(void **state)
{
    struct opened *o = *state;
    struct digest d = digest_of_text("two");
    char digest[DIGEST_TEXT_MAX];
    IMAGE(o, "one", "l1");
    IMAGE(o, "two", "l2");
    IMAGE(o, "three", "l3");
    blob(o, "l1"), blob(o, "l2"), blob(o, "l3");
    WRITE(o, index_put_pin(o->x, HUB, "library/a", "one", 1, e));
    WRITE(o, index_put_pin(o->x, HUB, "library/b", digest_print(&d, digest), 1, e));
    evict_to(o, 0);
    assert_true(is_held(o, "one") && is_held(o, "l1"));
    assert_true(is_held(o, "two") && is_held(o, "l2"));
    assert_false(is_held(o, "three") || is_held(o, "l3"));
    WRITE(o, index_remove_pin(o->x, HUB, "library/a", "one", e));
    evict_to(o, 0);
    assert_false(is_held(o, "one") || is_held(o, "l1"));
}

static void pinned_image_whose_manifest_is_lost_keeps_what_it_names(void **state)
{
    struct opened *o = *state;
    struct digest index = digest_of_text("index"), manifest = digest_of_text("m1");
    IMAGE(o, "m1", "l1");
    IMAGE(o, "m2", "l2");
    IMAGE(o, "index", "m1", "m2");
    blob(o, "l1"), blob(o, "l2");
    WRITE(o, index_put_pin(o->x, HUB, "library/a", "index", 1, e));
    OK(store_remove(o->folder->store, &manifest, e));
    WRITE(o, index_lose_blob(o->x, &manifest, e));
    OK(store_remove(o->folder->store, &index, e));
    WRITE(o, index_lose_blob(o->x, &index, e));
    evict_to(o, 0);
    assert_true(is_held(o, "l1") && is_held(o, "m2") && is_held(o, "l2"));
    WRITE(o, index_remove_pin(o->x, HUB, "library/a", "index", e));
    evict_to(o, 0);
    assert_false(is_held(o, "l1") || is_held(o, "m2") || is_held(o, "l2"));
}

static void orphan_that_is_named_again_has_its_turn_like_any_other(void **state)
{
    struct opened *o = *state;
    IMAGE(o, "one", "layer");
    blob(o, "layer"), blob(o, "second");
    evict_to(o, 2); /* the image goes, its layer would be next */
    assert_true(is_held(o, "layer"));
    IMAGE(o, "again", "layer");
    evict_to(o, 2);
    assert_true(is_held(o, "layer"));
    assert_false(is_held(o, "second"));
}

static void rows_of_what_went_are_gone(void **state)
{
    struct opened *o = *state;
    struct digest d = digest_of_text("one"), never = digest_of_text("never fetched");
    struct index_reader *r = index_reader_open(o->x, NULL);
    struct index_tag tag;
    int64_t size;
    bool is_proven;
    IMAGE(o, "one", "never fetched");
    assert_int_equal(index_find_hold(r, HUB, "library/a", &never, &size, &is_proven, NULL), 1);
    evict_to(o, 0);
    assert_int_equal(index_find_hold(r, HUB, "library/a", &d, &size, &is_proven, NULL), 0);
    assert_int_equal(index_find_hold(r, HUB, "library/a", &never, &size, &is_proven, NULL), 0);
    assert_int_equal(index_find_tag(r, HUB, "library/a", "one", &tag, NULL), 0);
    index_reader_close(r);
}

static void use_outlives_a_restart_and_no_clock_changes_the_order(void **state)
{
    struct opened *o = *state;
    blob(o, "a"), blob(o, "b");
    o->now_s += 365 * 24 * 3600; /* a year ahead, */
    blob(o, "c");
    use(o, "c");
    o->now_s -= 365 * 24 * 3600 + 3600; /* back, and an hour more */
    blob(o, "d");
    use(o, "a");
    close_all(o);
    folder_close_store(o->folder);
    folder_open_store(o->folder);
    open_all(o);
    assert_int_equal(room_taken(o->room), 4 * BLOCK);
    evict_to(o, 3);
    assert_false(is_held(o, "b"));
    evict_to(o, 2);
    assert_false(is_held(o, "d"));
    assert_true(is_held(o, "a") && is_held(o, "c"));
}

/* --- who has it in memory --------------------------------------------------------------------- */

struct memory {
    const char *read; /* is being read */
    const char *used; /* was used, and its row does not say so */
    struct str told;
};

static bool is_read(void *cls, const struct digest *d)
{
    struct digest read = digest_of_text(((struct memory *)cls)->read);
    return digest_equals(&read, d);
}

static bool take_use(void *cls, const struct digest *d)
{
    struct memory *m = cls;
    struct digest used = digest_of_text(m->used ? m->used : "");
    bool was_used = m->used && digest_equals(&used, d);
    str_add(&m->told, "asked ");
    if (was_used)
        m->used = NULL;
    return was_used;
}

static void gone(void *cls, const struct digest *d)
{
    (void)d;
    str_add(&((struct memory *)cls)->told, "gone ");
}

static void what_is_read_stays_and_memory_is_told_of_the_rest(void **state)
{
    struct opened *o = *state;
    struct memory m = {.read = "a"};
    const struct evict_listener listener = {is_read, take_use, gone, &m};
    evict_listen(o->v, &listener);
    blob(o, "a"), blob(o, "b"), blob(o, "c");
    use(o, "b");
    evict_to(o, 2);
    assert_string_equal(str_text(&m.told), "asked asked gone ");
    assert_true(is_held(o, "a"));
    evict_to(o, 0);
    assert_true(is_held(o, "a"));
    str_fini(&m.told);
}

/* A use is told to the ledger beside, and once a minute. */
static void what_memory_alone_knows_to_be_used_is_spared_once(void **state)
{
    struct opened *o = *state;
    struct memory m = {.read = "", .used = "a"};
    const struct evict_listener listener = {is_read, take_use, gone, &m};
    evict_listen(o->v, &listener);
    blob(o, "a"), blob(o, "b");
    OK(obey(o, 0, true, NULL, NULL, e));
    assert_non_null(m.used); /* a rehearsal takes nothing back */
    evict_to(o, 1);
    assert_true(is_held(o, "a"));
    evict_to(o, 0);
    assert_false(is_held(o, "a"));
    str_fini(&m.told);
}

/* --- driving it ------------------------------------------------------------------------------- */

static void it_begins_above_one_mark_and_goes_on_to_the_other(void **state)
{
    struct opened *o = *state;
    const struct room_limits limits = {.budget_bytes = 100 * BLOCK};
    room_set_limits(o->room, &limits);
    char name[16];
    for (int i = 0; i < 98; i++) {
        snprintf(name, sizeof name, "blob %d", i);
        blob(o, name);
    }
    assert_false(evict_step(o->v));
    blob(o, "one more");
    while (evict_step(o->v))
        ;
    assert_int_equal(room_taken(o->room), 95 * BLOCK);
    assert_false(is_held(o, "blob 0"));
}

static void who_waits_gets_room(void **state)
{
    struct opened *o = *state;
    const struct room_limits limits = {.budget_bytes = 100 * BLOCK};
    struct digest d = digest_of_text("large");
    char name[16];
    room_set_limits(o->room, &limits);
    for (int i = 0; i < 90; i++) {
        snprintf(name, sizeof name, "blob %d", i);
        blob(o, name);
    }
    assert_false(room_reserve(o->room, &d, 50 * BLOCK));
    room_want(o->room, 50 * BLOCK);
    while (evict_step(o->v))
        ;
    assert_true(room_reserve(o->room, &d, 50 * BLOCK));
    assert_int_equal(room_taken(o->room), 100 * BLOCK);
}

static void content_on_its_way_in_that_rests_goes_first(void **state)
{
    struct opened *o = *state;
    struct digest d = digest_of_text("half");
    char path[400];
    autostr struct str told = {0};
    blob(o, "a");
    write_file(partial_path(o->folder, &d, "", path), "half of it");
    room_rest(o->room, &d, BLOCK);
    OK(obey(o, BLOCK, false, add_name, &told, e));
    assert_string_equal(str_text(&told), "partial ");
    assert_false(path_exists(path));
    assert_true(is_held(o, "a"));
}

static void pass_that_finds_nothing_rests_and_says_so_to_who_waits(void **state)
{
    struct opened *o = *state;
    const struct room_limits limits = {.budget_bytes = BLOCK};
    IMAGE(o, "one", "l1");
    blob(o, "l1");
    WRITE(o, index_put_pin(o->x, HUB, "library/a", "one", 1, e));
    room_set_limits(o->room, &limits);
    while (evict_step(o->v))
        ;
    assert_true(room_is_stuck(o->room));
    WRITE(o, index_remove_pin(o->x, HUB, "library/a", "one", e));
    assert_false(evict_step(o->v));
    clock_advance_ms(1000);
    while (evict_step(o->v))
        ;
    assert_false(room_is_stuck(o->room));
    assert_int_equal(room_taken(o->room), 0);
}

static void pass_that_fails_rests_and_keeps_nobody_waiting(void **state)
{
    struct opened *o = *state;
    const struct room_limits limits = {.budget_bytes = 0};
    blob(o, "one");
    room_set_limits(o->room, &limits);
    OK(sql_exec(index_writer(o->x), "DROP TABLE pin", e));
    assert_false(evict_step(o->v));
    assert_true(room_is_stuck(o->room));
}

static void slice_looks_at_a_bounded_number_of_rows(void **state)
{
    struct opened *o = *state;
    const struct room_limits limits = {.budget_bytes = 1000 * BLOCK};
    OK(index_begin(o->x, e));
    for (int i = 0; i < 2000; i++) { /* all of them used: none may go in the first turn */
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        struct digest d = digest_of_text(name);
        OK(index_put_blob(o->x, &d, 1, 1, e));
        OK(index_touch(o->x, &d, 1, e));
    }
    OK(index_commit(o->x, e));
    room_add_blobs(o->room, 2000 * BLOCK);
    room_set_limits(o->room, &limits);
    int slices = 0;
    while (room_taken(o->room) == 2000 * BLOCK && slices < 9) {
        assert_true(evict_step(o->v));
        slices++;
    }
    assert_true(slices >= 8); /* 256 rows each; files of no row are not there to be taken */
}

static void rehearsal_tells_what_would_go_and_changes_nothing(void **state)
{
    struct opened *o = *state;
    autostr struct str rehearsed = {0}, told = {0};
    IMAGE(o, "one", "l1");
    IMAGE(o, "two", "l2");
    blob(o, "l1"), blob(o, "l2");
    use(o, "one");
    OK(obey(o, BLOCK, true, add_name, &rehearsed, e));
    assert_int_equal(room_taken(o->room), 4 * BLOCK);
    assert_true(is_held(o, "one") && is_held(o, "two") && is_held(o, "l1"));
    OK(obey(o, BLOCK, false, add_name, &told, e));
    assert_string_equal(str_text(&rehearsed), "docker.io/library/a:two  docker.io/library/a:one ");
    assert_string_equal(str_text(&told), str_text(&rehearsed));
    assert_int_equal(room_taken(o->room), BLOCK);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_came_first_and_was_not_used_goes_first),
        T(use_counts_once),
        T(image_goes_whole_and_what_others_share_stays),
        T(layer_that_is_used_keeps_its_image_and_a_shared_one_does_not),
        T(index_of_an_image_takes_its_manifests_and_layers_along),
        T(pinned_stays_whatever_is_wanted),
        T(pinned_image_whose_manifest_is_lost_keeps_what_it_names),
        T(orphan_that_is_named_again_has_its_turn_like_any_other),
        T(rows_of_what_went_are_gone),
        T(use_outlives_a_restart_and_no_clock_changes_the_order),
        T(what_is_read_stays_and_memory_is_told_of_the_rest),
        T(what_memory_alone_knows_to_be_used_is_spared_once),
        T(it_begins_above_one_mark_and_goes_on_to_the_other),
        T(who_waits_gets_room),
        T(content_on_its_way_in_that_rests_goes_first),
        T(pass_that_finds_nothing_rests_and_says_so_to_who_waits),
        T(pass_that_fails_rests_and_keeps_nobody_waiting),
        T(slice_looks_at_a_bounded_number_of_rows),
        T(rehearsal_tells_what_would_go_and_changes_nothing),
    };
    log_configure(LOG_LEVEL_OFF, LOG_FORMAT_TEXT);
    return cmocka_run_group_tests_name("evict", tests, NULL, NULL);
}
