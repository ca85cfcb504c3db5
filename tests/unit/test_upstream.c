/* SPDX-License-Identifier: Apache-2.0
 * Which registries there are, and which hosts belong together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <string.h>

#include "base/error.h"
#include "upstream/upstream.h"

static struct source source_at(const char *url)
{
    struct source s = {0};
    slice_copy(slice_of(url), s.url, sizeof s.url);
    return s;
}

static void an_origin_has_lower_case_and_a_default_port(void **state)
{
    struct url_origin o;
    (void)state;
    assert_true(upstream_url_origin("HTTPS://Registry.Example/v2/?x=1", &o));
    assert_string_equal(o.scheme, "https");
    assert_string_equal(o.host, "registry.example");
    assert_int_equal(o.port, 443);
    assert_true(upstream_url_origin("http://[::1]:5000/x", &o));
    assert_string_equal(o.host, "::1");
    assert_int_equal(o.port, 5000);
    assert_true(upstream_url_origin("http://[::ffff:1.2.3.4]/x", &o));
    assert_string_equal(o.host, "::ffff:1.2.3.4");
    assert_true(upstream_url_origin("http://1and1.example.0xy/", &o));
    assert_true(upstream_url_origin("http://h", &o));
    assert_int_equal(o.port, 80);
}

static void an_origin_is_refused_when_its_host_is_in_doubt(void **state)
{
    static const char *const bad[] = {"ftp://h/",
                                      "https://",
                                      "https:///x",
                                      "http://h:0",
                                      "http://h:65536",
                                      "http://h:x",
                                      "https://user:pass@h/",
                                      "https://evil.example\\@h/",
                                      "//h/",
                                      "h:5000",
                                      "https://a b/",
                                      "http://0177.0.0.1/",
                                      "http://0x7f000001/",
                                      "http://2130706433/",
                                      "http://127.1/",
                                      "http://127.0.0.1./"};
    struct url_origin o = {.port = 7};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (upstream_url_origin(bad[i], &o))
            fail_msg("%s was taken", bad[i]);
    assert_int_equal(o.port, 7);
}

static void origins_differ_by_scheme_host_or_port(void **state)
{
    struct url_origin a, b;
    (void)state;
    upstream_url_origin("https://h/", &a);
    upstream_url_origin("https://H:443/x", &b);
    assert_true(upstream_same_origin(&a, &b));
    static const char *const others[] = {"http://h:443/", "https://h:444/", "https://i/"};
    for (size_t i = 0; i < 3; i++) {
        upstream_url_origin(others[i], &b);
        assert_false(upstream_same_origin(&a, &b));
    }
}

static void addresses_are_known_by_how_far_in_they_lie(void **state)
{
    static const struct {
        enum address_range range;
        const char *addresses[12];
    } cases[] = {
        {ADDRESS_PRIVATE,
         {"127.0.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "0.0.0.0",
          "100.64.0.1", "::1", "::", "fd00::1", "::ffff:10.0.0.1"}},
        {ADDRESS_LINK_LOCAL, {"169.254.169.254", "169.254.0.1", "fe80::1", "::ffff:169.254.1.1"}},
        {ADDRESS_PUBLIC,
         {"8.8.8.8", "172.32.0.1", "172.15.0.1", "192.169.0.1", "100.128.0.1", "169.253.0.1",
          "2001:db8::1", "::ffff:8.8.8.8", "localhost", "10.0.0.1.example", ""}}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (const char *const *a = cases[i].addresses; *a; a++)
            if (upstream_address_range(*a) != cases[i].range)
                fail_msg("%s is not of range %d", *a, (int)cases[i].range);
}

static void a_realm_is_trusted_on_the_same_host_or_in_a_known_family(void **state)
{
    (void)state;
    struct source hub = source_at("https://registry-1.docker.io");
    assert_true(source_trusts_realm(&hub, "https://auth.docker.io/token"));
    assert_false(source_trusts_realm(&hub, "http://auth.docker.io/token"));
    assert_false(source_trusts_realm(&hub, "https://auth.docker.io.evil.example/token"));
    assert_false(source_trusts_realm(&hub, "https://evildocker.io/token"));
    assert_false(source_trusts_realm(&hub, "https://ghcr.io/token"));
    assert_false(source_trusts_realm(&hub, "https://auth.docker.io@evil.example/"));
    struct source own = source_at("https://registry.corp.example:5000");
    assert_true(source_trusts_realm(&own, "https://registry.corp.example/auth"));
    assert_false(source_trusts_realm(&own, "https://auth.corp.example/auth"));
    struct source local = source_at("http://127.0.0.1:5000");
    assert_true(source_trusts_realm(&local, "http://127.0.0.1:5001/auth"));
    assert_false(source_trusts_realm(&local, "http://127.0.0.2:5000/auth"));
    assert_false(source_trusts_realm(&local, "http://localhost:5000/auth"));
}

static struct upstreams *with(const struct upstream_options *o)
{
    struct upstreams *all = upstreams_new();
    struct error e;
    assert_int_equal(upstreams_add(all, o, &e), 0);
    return all;
}

static void an_upstream_is_found_by_any_alias_and_strangers_are_not(void **state)
{
    struct upstreams *all = upstreams_new();
    struct error e;
    (void)state;
    assert_null(upstreams_default(all));
    const struct upstream_options docker = {.registry = "docker.io",
                                            .origin = "https://registry-1.docker.io/",
                                            .username = "me"},
                                  local = {.registry = "r.example:5000",
                                           .origin = "http://10.0.0.1:5000/prefix//"};
    assert_int_equal(upstreams_add(all, &docker, &e), 0);
    assert_int_equal(upstreams_add(all, &local, &e), 0);
    struct upstream *hub = upstreams_find(all, slice_of("index.docker.io"));
    assert_non_null(hub);
    assert_ptr_equal(hub, upstreams_default(all));
    assert_ptr_equal(hub, upstreams_at(all, 0));
    assert_string_equal(upstream_origin(hub)->url, "https://registry-1.docker.io");
    assert_string_equal(upstream_origin(hub)->username, "me");
    assert_string_equal(upstream_origin(hub)->password, "");
    assert_int_equal(upstream_origin(hub)->reach, ADDRESS_PUBLIC);
    struct upstream *own = upstreams_find(all, slice_of("R.example:5000"));
    assert_non_null(own);
    assert_string_equal(upstream_origin(own)->url, "http://10.0.0.1:5000/prefix");
    assert_int_equal(upstream_origin(own)->reach, ADDRESS_PRIVATE);
    assert_null(upstream_origin(own)->username);
    assert_null(upstreams_find(all, slice_of("quay.io")));
    assert_null(upstreams_at(all, 2));
    assert_true(upstreams_choose_default(all, "r.example:5000"));
    assert_ptr_equal(own, upstreams_default(all));
    assert_false(upstreams_choose_default(all, "quay.io"));
    assert_ptr_equal(own, upstreams_default(all));
    upstreams_free(all);
}

static void a_url_that_says_too_much_or_too_little_is_refused(void **state)
{
    static const char *const bad[] = {"registry.example", "https://u:p@h", "https://h/?a=b",
                                      "https://h/#x",     "ftp://h",       "https://"};
    struct upstreams *all = upstreams_new();
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *mirrors[] = {(char *)bad[i], NULL};
        const struct upstream_options as_origin = {.registry = "docker.io", .origin = bad[i]},
                                      as_mirror = {.registry = "docker.io",
                                                   .origin = "https://h",
                                                   .mirrors = mirrors};
        struct error e = {0};
        assert_int_equal(upstreams_add(all, &as_origin, &e), -1);
        assert_int_equal(e.kind, ERR_USAGE);
        assert_non_null(strstr(e.text, "upstream URL"));
        assert_int_equal(upstreams_add(all, &as_mirror, &e), -1);
        assert_non_null(strstr(e.text, "upstream URL"));
    }
    assert_null(upstreams_default(all));
    upstreams_free(all);
}

static void mirrors_come_before_the_origin_and_only_it_gets_the_credential(void **state)
{
    char *mirrors[] = {(char[]){"http://a/"}, (char[]){"https://b"}, NULL};
    struct upstreams *all = with(&(struct upstream_options){
        .registry = "docker.io", .origin = "https://o", .mirrors = mirrors, .username = "me"});
    const struct upstream *u = upstreams_default(all);
    (void)state;
    assert_int_equal(u->source_count, 3);
    assert_string_equal(u->sources[0].url, "http://a");
    assert_string_equal(u->sources[1].url, "https://b");
    assert_string_equal(u->sources[2].url, "https://o");
    assert_ptr_equal(upstream_origin(u), &u->sources[2]);
    assert_null(u->sources[0].username);
    assert_null(u->sources[1].username);
    assert_string_equal(u->sources[2].username, "me");
    upstreams_free(all);
}

static void realms_and_private_redirects_are_what_the_configuration_says(void **state)
{
    char *const realms[] = {"auth.corp.example", NULL};
    char *const mirrors[] = {"https://mirror.example", NULL};
    struct upstream_options o = {.registry = "registry.corp.example",
                                 .origin = "https://registry.corp.example",
                                 .mirrors = mirrors,
                                 .tag_ttl_ms = -1};
    (void)state;
    struct upstreams *before = with(&o);
    const struct source *origin = upstream_origin(upstreams_default(before));
    assert_int_equal(origin->reach, ADDRESS_PUBLIC);
    assert_false(source_trusts_realm(origin, "https://auth.corp.example/token"));
    o.realms = realms;
    o.allows_private = true;
    struct upstreams *after = with(&o);
    const struct upstream *u = upstreams_default(after);
    assert_int_equal(u->sources[0].reach, ADDRESS_LINK_LOCAL);
    assert_int_equal(u->sources[1].reach, ADDRESS_LINK_LOCAL);
    assert_true(source_trusts_realm(upstream_origin(u), "https://AUTH.corp.example:8443/token"));
    assert_false(source_trusts_realm(upstream_origin(u), "http://auth.corp.example/token"));
    assert_false(source_trusts_realm(upstream_origin(u), "https://x.auth.corp.example/token"));
    assert_false(source_trusts_realm(&u->sources[0], "https://auth.corp.example/token"));
    assert_true(upstreams_replace(before, after));
    assert_true(upstreams_default(before)->allows_private);
    upstreams_free(before);
}

static void what_is_there_twice_is_refused_by_name(void **state)
{
    char *mirrors[] = {(char[]){"http://a/"}, NULL}, *hosts[] = {(char[]){"hub.lan"}, NULL};
    struct upstreams *all = with(
        &(struct upstream_options){.registry = "docker.io", .origin = "https://o", .hosts = hosts});
    struct error e;
    (void)state;
    assert_int_equal(upstreams_add(all,
                                   &(struct upstream_options){.registry = "index.docker.io",
                                                              .origin = "https://p"},
                                   &e),
                     -1);
    assert_non_null(strstr(e.text, "docker.io"));
    assert_int_equal(upstreams_add(all,
                                   &(struct upstream_options){.registry = "q.io",
                                                              .origin = "http://a",
                                                              .mirrors = mirrors},
                                   &e),
                     -1);
    assert_non_null(strstr(e.text, "http://a"));
    assert_int_equal(upstreams_add(all,
                                   &(struct upstream_options){
                                       .registry = "q.io", .origin = "http://b", .hosts = hosts},
                                   &e),
                     -1);
    assert_non_null(strstr(e.text, "hub.lan"));
    assert_null(upstreams_at(all, 1));
    upstreams_free(all);
}

static void a_virtual_host_is_found_in_any_case_and_with_any_port(void **state)
{
    char *hosts[] = {(char[]){"hub.lan"}, (char[]){"other.lan:8080"}, (char[]){"[::1]"}, NULL};
    struct upstreams *all = with(
        &(struct upstream_options){.registry = "docker.io", .origin = "https://o", .hosts = hosts});
    (void)state;
    static const char *const ours[] = {"hub.lan", "HUB.lan:5000", "other.lan:8080", "[::1]",
                                       "[::1]:5000"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        assert_non_null(upstreams_find_host(all, slice_of(ours[i])));
    static const char *const others[] = {
        "", "hub", "hub.lan.evil", "other.lan", "other.lan:80", "[::2]", ":5000"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_null(upstreams_find_host(all, slice_of(others[i])));
    upstreams_free(all);
}

static void deny_wins_over_allow_and_the_rule_is_told(void **state)
{
    char *allow[] = {(char[]){"library/*"}, (char[]){"grafana/*"}, NULL},
         *deny[] = {(char[]){"*/miner"}, NULL};
    char *tags[] = {(char[]){"[0-9]*.[0-9]*"}, NULL};
    struct upstreams *all = with(&(struct upstream_options){.registry = "docker.io",
                                                            .origin = "https://o",
                                                            .allow = allow,
                                                            .deny = deny,
                                                            .immutable_tags = tags});
    const struct upstream *u = upstreams_default(all);
    const char *rule;
    (void)state;
    assert_true(upstream_allows(u, "library/alpine", &rule));
    assert_true(upstream_allows(u, "grafana/a/b", &rule));
    assert_false(upstream_allows(u, "library/miner", &rule));
    assert_string_equal(rule, "*/miner");
    assert_false(upstream_allows(u, "other/x", &rule));
    assert_string_equal(rule, "");
    assert_true(upstream_is_immutable_tag(u, "1.27"));
    assert_false(upstream_is_immutable_tag(u, "latest"));
    upstreams_free(all);
}

static struct upstreams *world(const char *const names[], const char *password)
{
    struct upstreams *u = upstreams_new();
    struct error e = {0};
    for (; *names; names++) {
        const struct source_credential mirror = {"m", password};
        const struct upstream_options o = {.registry = *names,
                                           .origin = "https://o.example",
                                           .mirrors = (char *[]){"https://m.example", NULL},
                                           .mirror_credentials = &mirror,
                                           .way = {.proxy = "http://p", .client_key = "/k"},
                                           .allow = (char *[]){"a/*", "b", NULL},
                                           .tag_ttl_ms = -1};
        assert_int_equal(upstreams_add(u, &o, &e), 0);
    }
    return u;
}

static void a_mirror_has_the_credential_given_for_it_and_the_origin_none(void **state)
{
    const char *const names[] = {"a.io", NULL};
    (void)state;
    struct upstreams *u = world(names, "secret");
    const struct upstream *a = upstreams_at(u, 0);
    assert_string_equal(a->sources[0].username, "m");
    assert_string_equal(a->sources[0].password, "secret");
    assert_null(upstream_origin(a)->username);
    assert_string_equal(a->sources[0].way.proxy, "http://p");
    assert_string_equal(upstream_origin(a)->way.proxy, "http://p");
    assert_null(a->sources[0].way.client_key);
    assert_string_equal(upstream_origin(a)->way.client_key, "/k");
    assert_null(upstream_origin(a)->way.ca_file);
    upstreams_free(u);
}

static void what_is_configured_as_before_stays_the_same_object(void **state)
{
    const char *const before[] = {"a.io", "b.io", NULL}, *const after[] = {"c.io", "a.io", NULL};
    (void)state;
    struct upstreams *u = world(before, "x");
    const struct upstream *a = upstreams_at(u, 0), *b = upstreams_at(u, 1);
    assert_false(upstreams_replace(u, world(before, "x")));
    assert_ptr_equal(upstreams_at(u, 0), a);
    assert_true(upstreams_replace(u, world(after, "x")));
    assert_ptr_equal(upstreams_find(u, slice_of("a.io")), a);
    assert_string_equal(upstreams_default(u)->registry, "c.io");
    assert_null(upstreams_find(u, slice_of("b.io")));
    assert_null(upstreams_at(u, 2));
    assert_string_equal(b->registry, "b.io"); /* for who is using it still */
    assert_true(upstreams_replace(u, world(before, "x")));
    assert_ptr_equal(upstreams_at(u, 1), b);
    upstreams_free(u);
}

static void a_registry_that_is_only_held_is_found_and_the_table_goes_before_it(void **state)
{
    const char *const before[] = {"a.io", NULL}, *const after[] = {"a.io", "quay.io", NULL};
    (void)state;
    struct upstreams *u = world(before, "x");
    assert_true(upstreams_hold(u, "quay.io"));
    assert_true(upstreams_hold(u, "quay.io"));
    assert_true(upstreams_hold(u, "a.io"));
    const struct upstream *held = upstreams_find(u, slice_of("QUAY.io"));
    assert_non_null(held);
    assert_true(upstream_is_only_held(held));
    assert_null(upstream_origin(held));
    assert_false(upstream_has_credentials(held));
    assert_null(upstreams_at(u, 1));
    assert_false(upstream_is_only_held(upstreams_find(u, slice_of("a.io"))));
    assert_true(upstreams_replace(u, world(after, "x")));
    assert_false(upstream_is_only_held(upstreams_find(u, slice_of("quay.io"))));
    assert_true(upstreams_replace(u, world(before, "x")));
    assert_ptr_equal(upstreams_find(u, slice_of("quay.io")), held);
    upstreams_free(u);
}

static void only_so_many_and_only_what_is_no_component_is_held(void **state)
{
    char name[32];
    (void)state;
    struct upstreams *u = upstreams_new();
    assert_false(upstreams_hold(u, "library"));
    assert_false(upstreams_hold(u, "a.io/b"));
    assert_null(upstreams_find(u, slice_of("library")));
    for (int i = 0; i < HELD_MAX; i++) {
        snprintf(name, sizeof name, "r%d.io", i);
        assert_true(upstreams_hold(u, name));
    }
    assert_false(upstreams_hold(u, "more.io"));
    assert_null(upstreams_find(u, slice_of("more.io")));
    assert_true(upstreams_hold(u, "r0.io"));
    upstreams_free(u);
}

static void another_secret_is_another_upstream(void **state)
{
    const char *const names[] = {"a.io", NULL};
    (void)state;
    struct upstreams *u = world(names, "x");
    const struct upstream *old = upstreams_at(u, 0);
    assert_true(upstreams_replace(u, world(names, "y")));
    assert_ptr_not_equal(upstreams_at(u, 0), old);
    assert_string_equal(old->sources[0].password, "x");
    upstreams_free(u);
}

static void another_default_is_a_change(void **state)
{
    const char *const names[] = {"a.io", "b.io", NULL};
    (void)state;
    struct upstreams *u = world(names, "x"), *new = world(names, "x");
    assert_true(upstreams_choose_default(new, "b.io"));
    assert_true(upstreams_replace(u, new));
    assert_string_equal(upstreams_default(u)->registry, "b.io");
    upstreams_free(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_origin_has_lower_case_and_a_default_port),
        cmocka_unit_test(an_origin_is_refused_when_its_host_is_in_doubt),
        cmocka_unit_test(origins_differ_by_scheme_host_or_port),
        cmocka_unit_test(addresses_are_known_by_how_far_in_they_lie),
        cmocka_unit_test(a_realm_is_trusted_on_the_same_host_or_in_a_known_family),
        cmocka_unit_test(an_upstream_is_found_by_any_alias_and_strangers_are_not),
        cmocka_unit_test(a_url_that_says_too_much_or_too_little_is_refused),
        cmocka_unit_test(mirrors_come_before_the_origin_and_only_it_gets_the_credential),
        cmocka_unit_test(realms_and_private_redirects_are_what_the_configuration_says),
        cmocka_unit_test(what_is_there_twice_is_refused_by_name),
        cmocka_unit_test(a_virtual_host_is_found_in_any_case_and_with_any_port),
        cmocka_unit_test(a_mirror_has_the_credential_given_for_it_and_the_origin_none),
        cmocka_unit_test(what_is_configured_as_before_stays_the_same_object),
        cmocka_unit_test(a_registry_that_is_only_held_is_found_and_the_table_goes_before_it),
        cmocka_unit_test(only_so_many_and_only_what_is_no_component_is_held),
        cmocka_unit_test(another_secret_is_another_upstream),
        cmocka_unit_test(another_default_is_a_change),
        cmocka_unit_test(deny_wins_over_allow_and_the_rule_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
