/* SPDX-License-Identifier: Apache-2.0
 * Which hosts no_proxy excepts, and which proxy the environment means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fetch/proxy.h"
#include "upstream/upstream.h"

static const struct {
    const char *list, *url;
    bool is_excepted;
} cases[] = {
    {"", "http://h/", false},
    {"*", "http://h/", true},
    {"h", "http://h/", true},
    {"H", "http://h/", true},
    {"x, h\ty", "http://h/", true},
    {"example.com", "https://a.example.com/", true},
    {".example.com", "https://a.example.com/", true},
    {"*.example.com", "https://a.example.com/", true},
    {"example.com", "https://notexample.com/", false},
    {"example.com", "https://com/", false},
    {"h:443", "https://h/", true},
    {"h:80", "https://h/", false},
    {"h:x", "https://h/", false},
    {"10.0.0.0/8", "http://10.1.2.3/", true},
    {"10.0.0.0/9", "http://10.128.0.1/", false},
    {"10.0.0.0/33", "http://10.0.0.1/", false},
    {"10.0.0.0/x", "http://10.0.0.0/", false},
    {"10.1.2.3", "http://10.1.2.3/", true},
    {"10.1.2.3:80", "http://10.1.2.3/", true},
    {"10.0.0.0/8", "http://ten/", false},
    {"ten/8", "http://ten/", false},
    {"::1", "http://[::1]/", true},
    {"[::1]:80", "http://[::1]/", true},
    {"[::1]:81", "http://[::1]/", false},
    {"[::1]", "http://[::1]/", true},
    {"fd00::/8", "http://[fd12::1]/", true},
    {"fd00::/8", "http://10.0.0.1/", false},
    {".", "http://h/", false},
    {"*.", "http://h/", false},
};

static void a_host_is_excepted_by_name_domain_address_or_network(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct url_origin o;
        assert_true(upstream_url_origin(cases[i].url, &o));
        if (proxy_is_excepted(cases[i].list, &o) != cases[i].is_excepted)
            fail_msg("%s for %s", cases[i].list, cases[i].url);
    }
}

static void the_environments_proxy_is_by_scheme_and_then_for_all(void **state)
{
    struct url_origin plain, secure;
    (void)state;
    assert_true(upstream_url_origin("http://h/", &plain) &&
                upstream_url_origin("https://h/", &secure));
    static const char *const names[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
                                        "all_proxy",  "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    assert_null(proxy_for(&plain));
    setenv("ALL_PROXY", "http://all", 1);
    assert_string_equal(proxy_for(&plain), "http://all");
    setenv("HTTPS_PROXY", "http://secure", 1);
    assert_string_equal(proxy_for(&plain), "http://all");
    assert_string_equal(proxy_for(&secure), "http://secure");
    setenv("https_proxy", "http://lower", 1);
    assert_string_equal(proxy_for(&secure), "http://lower");
    setenv("no_proxy", "h", 1);
    assert_null(proxy_for(&secure));
    setenv("no_proxy", "", 1);
    setenv("NO_PROXY", "other", 1);
    assert_string_equal(proxy_for(&secure), "http://lower");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_is_excepted_by_name_domain_address_or_network),
        cmocka_unit_test(the_environments_proxy_is_by_scheme_and_then_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
