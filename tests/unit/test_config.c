/* SPDX-License-Identifier: Apache-2.0
 * config: who wins, what a file may say, and that every mistake is told with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/config.h"
#include "app/mistakes.h"
#include "app/registry.h"
#include "app/world.h"
#include "base/str.h"
#include "upstream/upstream.h"

static char path[] = "/tmp/tranship-config-XXXXXX";
static struct config c;
static struct mistakes m;

static int fresh(void **state)
{
    (void)state;
    memset(&c, 0, sizeof c);
    memset(&m, 0, sizeof m);
    return 0;
}

static int over(void **state)
{
    (void)state;
    config_fini(&c);
    mistakes_fini(&m);
    unsetenv("TRANSHIP_TAG_TTL");
    unsetenv("TRANSHIP_MIRROR");
    unsetenv("TRANSHIP_CONFIG");
    return 0;
}

static int load(const char *text, char *const *options)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    const struct config_input in = {.path = path, .options = options};
    return config_load(&c, &in, &m);
}

static void assert_loaded(const char *text, char *const *options)
{
    if (load(text, options) < 0)
        fail_msg("%s", m.all[0]);
}

/* The file's mistakes are these, in this order, each `LINE: text` with path and a colon in front.
 */
static void assert_mistakes(const char *text, const char *const *wanted)
{
    assert_int_equal(load(text, NULL), -1);
    for (size_t i = 0; wanted[i]; i++) {
        autostr struct str line = {0};
        str_format(&line, "%s:%s", path, wanted[i]);
        if (i >= m.count)
            fail_msg("not told: %s", wanted[i]);
        if (!slice_starts(slice_of(m.all[i]), str_text(&line)))
            fail_msg("told \"%s\", not \"%s\"", m.all[i], str_text(&line));
        assert_true(i + 1 < m.count || !wanted[i + 1]);
    }
}

static void an_option_wins_over_the_environment_over_the_file_over_the_default(void **state)
{
    char *options[] = {"tag-ttl", "4s", NULL};
    (void)state;
    assert_loaded("{}", NULL);
    assert_int_equal(c.tag_ttl_ms, 60000);
    config_fini(&c);
    assert_loaded("{\"tag_ttl\": \"2s\"}", NULL);
    assert_int_equal(c.tag_ttl_ms, 2000);
    assert_int_equal(c.tag_ttl_mark.line, 1);
    config_fini(&c);
    setenv("TRANSHIP_TAG_TTL", "3s", 1);
    assert_loaded("{\"tag_ttl\": \"2s\"}", NULL);
    assert_int_equal(c.tag_ttl_ms, 3000);
    config_fini(&c);
    assert_loaded("{\"tag_ttl\": \"2s\"}", options);
    assert_int_equal(c.tag_ttl_ms, 4000);
}

static void a_list_of_a_higher_rank_takes_the_place_of_a_lower_ones(void **state)
{
    char *options[] = {"listen", ":1", "listen", ":2", NULL};
    (void)state;
    assert_loaded("{\"listen\": [\":3\", \":4\", \":5\"]}", options);
    assert_string_equal(c.listen[0], ":1");
    assert_string_equal(c.listen[1], ":2");
    assert_null(c.listen[2]);
}

static void without_registries_the_known_ones_are_there(void **state)
{
    (void)state;
    assert_loaded("{}", NULL);
    assert_int_equal(c.registry_count, 11);
    assert_non_null(config_registry(&c, "docker.elastic.co"));
    struct upstreams *u = world_build(&c, true, &m);
    assert_non_null(u);
    assert_string_equal(upstream_origin(upstreams_default(u))->url, "https://registry-1.docker.io");
    assert_string_equal(upstream_origin(upstreams_find(u, slice_of("ghcr.io")))->url,
                        "https://ghcr.io");
    upstreams_free(u);
}

static void with_registries_only_those_are_there_and_the_first_is_the_default(void **state)
{
    (void)state;
    assert_loaded("{\"registries\": {\"quay.io\": {}, \"ghcr.io\": {}}}", NULL);
    assert_int_equal(c.registry_count, 2);
    assert_string_equal(c.default_registry, "quay.io");
}

static void all_that_is_said_of_a_registry_reaches_its_upstream(void **state)
{
    (void)state;
    assert_loaded(
        "{\"default_registry\": \"index.docker.io\", \"registries\": {\"ghcr.io\": {},\n"
        "\"docker.io\": {\"mirrors\": [\"https://m1\", {\"url\": \"http://m2/x/\"}],\n"
        " \"origin\": \"https://o\", \"resolve\": \"any\", \"tag_ttl\": \"7s\",\n"
        " \"immutable_tags\": [\"v*\"], \"allow\": [\"library/*\"], \"deny\": [\"*/x\"],\n"
        " \"hosts\": [\"hub.lan\"], \"username\": \"me\"}}}",
        NULL);
    struct upstreams *u = world_build(&c, true, &m);
    assert_non_null(u);
    const struct upstream *hub = upstreams_default(u);
    const char *rule;
    assert_string_equal(hub->registry, "docker.io");
    assert_int_equal(hub->source_count, 3);
    assert_string_equal(hub->sources[1].url, "http://m2/x");
    assert_null(hub->sources[0].username);
    assert_string_equal(upstream_origin(hub)->url, "https://o");
    assert_string_equal(upstream_origin(hub)->username, "me");
    assert_true(hub->resolves_anywhere);
    assert_int_equal(hub->tag_ttl_ms, 7000);
    assert_true(upstream_is_immutable_tag(hub, "v1"));
    assert_true(upstream_allows(hub, "library/a", &rule));
    assert_false(upstream_allows(hub, "library/x", &rule));
    assert_false(upstream_allows(hub, "me/a", &rule));
    assert_ptr_equal(upstreams_find_host(u, slice_of("hub.lan:5000")), hub);
    assert_int_equal(upstreams_at(u, 0)->tag_ttl_ms, -1);
    upstreams_free(u);
}

static void upstream_and_mirror_speak_of_docker_io(void **state)
{
    char *options[] = {"upstream", "http://o2", "mirror", "http://m2", "mirror", "http://m3", NULL};
    (void)state;
    assert_loaded("{\"registries\": {\"docker.io\": {\"origin\": \"http://o\", \"mirrors\": "
                  "[\"http://m\"]}}}",
                  options);
    const struct registry *hub = config_registry(&c, "docker.io");
    assert_string_equal(hub->origin, "http://o2");
    assert_int_equal(hub->mirrors.count, 2);
    assert_string_equal(hub->mirrors.all[0].url, "http://m2");
    config_fini(&c);
    setenv("TRANSHIP_MIRROR", "http://e1  http://e2", 1);
    assert_loaded("{\"registries\": {\"quay.io\": {}}}", NULL);
    assert_int_equal(c.registry_count, 2);
    assert_int_equal(config_registry(&c, "docker.io")->mirrors.count, 2);
}

static void mistakes_are_told_all_at_once_with_line_and_key(void **state)
{
    static const char text[] = "{\"lisen\": [\"a\"],\n"
                               " \"listen\": \"x\",\n"
                               " \"threads\": 65, \"tag_ttl\": 5,\n"
                               " \"log_level\": \"loud\",\n"
                               " \"registrys\": 1,\n"
                               " \"registries\": {\n"
                               "  \"docker.io\": {\"origin\": \"ftp://x\", \"mirrors\": [\n"
                               "    \"http://a@b/\", {\"ur\": \"x\"}, 4,\n"
                               "    {\"url\": \"http://h\",\n"
                               "     \"password_file\": \"/f\"}, {\"url\": \"\"}],\n"
                               "    \"allow\": [\"a\",\n"
                               "      \"[a\"], \"resolv\": \"any\"},\n"
                               "  \"bad name\": {}, \"index.docker.io\": {}, \"x.io\": [],\n"
                               "  \"y.io\": {\"mirrors\": {}}}}";
    static const char *const wanted[] = {
        "1: lisen: unknown key; the nearest is listen",
        "2: listen: wrong type: it must be a list",
        "3: threads: 65 is out of bounds (0 to 64)",
        "3: tag_ttl: wrong type: it must be a duration",
        "4: log_level: \"loud\" is none of debug, info, warning, error, off",
        "5: registrys: unknown key; the nearest is registries",
        "7: registries.docker.io.origin: \"ftp://x\" is no upstream URL",
        "8: registries.docker.io.mirrors[0]: an upstream URL names no user",
        "8: registries.docker.io.mirrors[1].ur: unknown key; the nearest is url",
        "8: registries.docker.io.mirrors[1]: a mirror needs its \"url\"",
        "8: registries.docker.io.mirrors[2]: wrong type",
        "10: registries.docker.io.mirrors[3].password_file: whose?",
        "10: registries.docker.io.mirrors[4]: the \"url\" is empty",
        "12: registries.docker.io.allow[1]: the glob \"[a\" has a [ without its ]",
        "12: registries.docker.io.resolv: unknown key; the nearest is resolve",
        "13: registries.\"bad name\": not the name of a registry",
        "13: registries.index.docker.io: that registry is there already",
        "13: registries.x.io: wrong type: it must be an object",
        "14: registries.y.io.mirrors: wrong type: it must be a list",
        NULL};
    (void)state;
    assert_mistakes(text, wanted);
}

static void a_key_that_is_there_twice_is_a_mistake(void **state)
{
    static const char *const wanted[] = {"2: threads: the key is there twice",
                                         "4: registries.a.io.allow: the key is there twice", NULL};
    (void)state;
    assert_mistakes("{\"threads\": 1,\n\"threads\": 1,\n\"registries\": {\"a.io\": {\"allow\": "
                    "[\"x\"],\n\"allow\": [\"x\"]}}}",
                    wanted);
}

static void what_is_no_json_is_told_with_its_line(void **state)
{
    static const char *const texts[] = {"", "{\"threads\":\n 1,}", "[1", "{} x", "\xff"};
    static const char *const lines[] = {"1: not JSON", "2: not JSON", "1: not JSON", "1: not JSON",
                                        "1: not JSON"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *const wanted[] = {lines[i], NULL};
        assert_mistakes(texts[i], wanted);
        over(state);
    }
}

static void a_document_that_is_no_object_is_a_mistake(void **state)
{
    static const char *const wanted[] = {"2: wrong type: it must be an object", NULL};
    (void)state;
    assert_mistakes("\n[]", wanted);
}

static void keys_inside_tls_and_access_are_taken(void **state)
{
    (void)state;
    assert_int_equal(load("{\"tls\": {\"certificate\": \"a\", \"key\": \"b\"},"
                          " \"access\": {\"networks\": [\"10.0.0.0/8\", \"::1\"]}}",
                          NULL),
                     0);
    assert_string_equal(c.tls_key, "b");
    assert_string_equal(c.access_networks[1], "::1");
    over(state);
}

static void room_is_a_size_and_what_stays_free_a_size_or_a_share(void **state)
{
    static const char *const wrong[] = {"{\"keep_free\": \"101%\"}", "{\"keep_free\": \"5 %\"}",
                                        "{\"keep_free\": \"lots\"}", "{\"keep_free\": 5}",
                                        "{\"budget\": \"5%\"}",      "{\"budget\": \"1KiB\"}"};
    int64_t bytes, percent;
    (void)state;
    assert_loaded("{\"budget\": \"200GiB\", \"keep_free\": \"7%\"}", NULL);
    assert_int_equal(c.budget_bytes, INT64_C(200) << 30);
    assert_true(option_share(c.keep_free, &bytes, &percent));
    assert_int_equal(bytes, 0);
    assert_int_equal(percent, 7);
    over(state);
    assert_loaded("{\"keep_free\": \"10GiB\"}", NULL);
    assert_int_equal(c.budget_bytes, -1);
    assert_true(option_share(c.keep_free, &bytes, &percent));
    assert_int_equal(bytes, INT64_C(10) << 30);
    assert_int_equal(percent, 0);
    over(state);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(load(wrong[i], NULL), -1);
        over(state);
    }
}

static void keys_inside_a_key_are_those_of_the_options(void **state)
{
    static const char *const wanted[] = {"2: tls.certifcate: unknown key; the nearest is "
                                         "tls.certificate",
                                         "3: access.networks: wrong type",
                                         "4: tls: the key is there twice", NULL};
    char *options[] = {"tls-key", "/k2", NULL};
    (void)state;
    assert_loaded("{\"tls\": {\"certificate\": \"/c\", \"key\": \"/k\"}}", options);
    assert_string_equal(c.tls_certificate, "/c");
    assert_string_equal(c.tls_key, "/k2");
    over(state);
    const char *const twice[] = {wanted[2], NULL}, *const rest[] = {wanted[0], wanted[1], NULL};
    assert_mistakes("{\"tls\":\n{\"certifcate\": \"\"},\n\"access\": {\"networks\": 1}}", rest);
    over(state);
    assert_mistakes("{\"tls\":\n\n{},\n\"tls\": {}}", twice);
    over(state);
    assert_int_equal(load("{\"tls\": \"/c\"}", NULL), -1);
    assert_non_null(strstr(m.all[0], ":1: tls: wrong type: it must be an object"));
}

static void an_empty_list_of_registries_is_a_mistake(void **state)
{
    static const char *const wanted[] = {"1: registries: it names no registry", NULL};
    (void)state;
    assert_mistakes("{\"registries\": {}}", wanted);
}

static void a_default_that_is_no_registry_is_a_mistake(void **state)
{
    static const char *const wanted[] = {"1: default_registry: it is none of the registries", NULL};
    (void)state;
    assert_mistakes("{\"default_registry\": \"ghcr.io\", \"registries\": {\"quay.io\": {}}}",
                    wanted);
}

static void the_same_thing_said_in_two_places_is_a_mistake(void **state)
{
    static const char *const wanted[] = {
        "1: upstream: registries.docker.io.origin says it too, in line 2", NULL};
    (void)state;
    assert_mistakes("{\"upstream\": \"http://a\", \"registries\":\n{\"docker.io\": {\"origin\": "
                    "\"http://b\"}}}",
                    wanted);
}

static void hosts_and_mirrors_twice_are_found_when_the_world_is_built(void **state)
{
    (void)state;
    assert_loaded("{\"registries\": {\"a.io\": {\"hosts\": [\"h\"]},\n\"b.io\": {\"hosts\": "
                  "[\"h\"]},\n\"c.io\": {\"mirrors\": [\"http://m\", \"http://m\"]}}}",
                  NULL);
    assert_null(world_build(&c, true, &m));
    assert_int_equal(m.count, 2);
    assert_non_null(strstr(m.all[0], ":2: registries.b.io: the host h"));
    assert_non_null(strstr(m.all[1], ":3: registries.c.io: http://m is named twice"));
}

static void a_secret_that_is_not_there_is_told_with_its_line(void **state)
{
    (void)state;
    assert_loaded("{\"registries\": {\"a.io\": {\"username\": \"u\",\n\"password_file\": "
                  "\"/nowhere/x\"}}}",
                  NULL);
    assert_null(world_build(&c, true, &m));
    assert_non_null(
        strstr(m.all[0], ":2: registries.a.io.password_file: /nowhere/x cannot be read here"));
    struct upstreams *u = world_build(&c, false, &m);
    assert_non_null(u);
    upstreams_free(u);
    struct mistakes notes = {0};
    config_note_files(&c, &notes);
    assert_int_equal(notes.count, 1);
    mistakes_fini(&notes);
}

static void a_thousand_mistakes_are_cut_and_counted(void **state)
{
    autostr struct str text = {0};
    (void)state;
    str_add(&text, "{\"listen\": 1");
    for (int i = 0; i < 1000; i++)
        str_format(&text, ",\n\"unknown-%d\": 1", i);
    str_add(&text, "}");
    assert_int_equal(load(str_text(&text), NULL), -1);
    assert_int_equal(m.count, MISTAKES_MAX);
    assert_int_equal(m.left_off, 1001 - MISTAKES_MAX);
}

static void a_file_over_a_mebibyte_and_one_that_is_not_there_are_refused(void **state)
{
    autostr struct str text = {0};
    const struct config_input in = {.path = "/nowhere/at/all"};
    (void)state;
    str_add(&text, "{}");
    while (text.length <= 1 << 20)
        str_add(&text, "                                                                ");
    assert_int_equal(load(str_text(&text), NULL), -1);
    over(state);
    assert_int_equal(config_load(&c, &in, &m), -1);
    assert_non_null(strstr(m.all[0], "/nowhere/at/all: there is no such file"));
}

static void the_environment_may_name_the_file(void **state)
{
    const struct config_input in = {0};
    (void)state;
    assert_loaded("{\"threads\": 5}", NULL);
    config_fini(&c);
    setenv("TRANSHIP_CONFIG", path, 1);
    assert_int_equal(config_load(&c, &in, &m), 0);
    assert_int_equal(c.threads, 5);
}

int main(void)
{
    const int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
#define story(name) cmocka_unit_test_setup_teardown(name, fresh, over)
    const struct CMUnitTest tests[] = {
        story(an_option_wins_over_the_environment_over_the_file_over_the_default),
        story(a_list_of_a_higher_rank_takes_the_place_of_a_lower_ones),
        story(without_registries_the_known_ones_are_there),
        story(with_registries_only_those_are_there_and_the_first_is_the_default),
        story(all_that_is_said_of_a_registry_reaches_its_upstream),
        story(upstream_and_mirror_speak_of_docker_io),
        story(mistakes_are_told_all_at_once_with_line_and_key),
        story(a_key_that_is_there_twice_is_a_mistake),
        story(what_is_no_json_is_told_with_its_line),
        story(a_document_that_is_no_object_is_a_mistake),
        story(keys_inside_tls_and_access_are_taken),
        story(room_is_a_size_and_what_stays_free_a_size_or_a_share),
        story(keys_inside_a_key_are_those_of_the_options),
        story(an_empty_list_of_registries_is_a_mistake),
        story(a_default_that_is_no_registry_is_a_mistake),
        story(the_same_thing_said_in_two_places_is_a_mistake),
        story(hosts_and_mirrors_twice_are_found_when_the_world_is_built),
        story(a_secret_that_is_not_there_is_told_with_its_line),
        story(a_thousand_mistakes_are_cut_and_counted),
        story(a_file_over_a_mebibyte_and_one_that_is_not_there_are_refused),
        story(the_environment_may_name_the_file),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
