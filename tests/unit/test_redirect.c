/* SPDX-License-Identifier: Apache-2.0
 * Where answers may send us: redirects and next pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/error.h"
#include "fetch/redirect.h"

static void a_location_is_joined_to_where_it_was_said(void **state)
{
    static const struct {
        const char *url, *location, *meant;
    } cases[] = {
        {"https://h/v2/a/blobs/d", "https://cdn.example/x?sig=1", "https://cdn.example/x?sig=1"},
        {"https://h/v2/a/blobs/d", "/other", "https://h/other"},
        {"https://h/v2/a/blobs/d", "e?y", "https://h/v2/a/blobs/e?y"},
        {"https://h/v2/a/blobs/d", "//cdn.example/x", "https://cdn.example/x"},
        {"https://h/v2/a/blobs/d", "https://h/x#part", "https://h/x"},
        {"http://h/x", "https://h/y", "https://h/y"},
        {"http://h/x", "http://h:81/y", "http://h:81/y"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e = {0};
        autofree char *next = redirect_resolve(cases[i].url, cases[i].location, &e);
        assert_non_null(next);
        assert_string_equal(next, cases[i].meant);
    }
}

static void a_location_that_leads_astray_is_refused_without_repeating_it(void **state)
{
    static const char *const bad[] = {"",
                                      "http://h/secret",
                                      "ftp://h/secret",
                                      "javascript:secret",
                                      "https://user:secret@h/",
                                      "https://",
                                      "https://a b/secret"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error e = {0};
        autofree char *next = redirect_resolve("https://h/v2/", bad[i], &e);
        assert_null(next);
        assert_int_equal(e.kind, ERR_UPSTREAM);
        assert_null(strstr(e.text, "secret"));
    }
}

static void the_next_page_is_found_at_its_own_source_only(void **state)
{
    static const struct {
        const char *link, *path;
    } cases[] = {
        {"</v2/a/tags/list?last=b&n=2>; rel=\"next\"", "/v2/a/tags/list?last=b&n=2"},
        {"</v2/x>;rel=next", "/v2/x"},
        {"</v2/x>; REL=\"Next\"", "/v2/x"},
        {"</v2/x>; rel=\"last next\"", "/v2/x"},
        {"<?last=b>; rel=\"next\"", "/v2/a/tags/list?last=b"},
        {"<https://H:443/v2/x>; rel=\"next\"", "/v2/x"},
        {"</v2/w>; rel=\"prev\", </v2/x>; rel=\"next\"", "/v2/x"},
        {"</v2/w>; title=\"a, b; rel=next\", </v2/x>; rel=\"next\"", "/v2/x"},
        {"</v2/w>; title=\"a\\\"; rel=next\"; rel=\"next\"", "/v2/w"},
        /* no next page */
        {"", NULL},
        {"</v2/x>", NULL},
        {"</v2/x?next>; rel=\"prev\"", NULL},
        {"</v2/x>; rel=\"nextish\"", NULL},
        {"</v2/x; rel=\"next\"", NULL},
        {"<>; rel=\"next\"", NULL},
        /* not here */
        {"<https://other/v2/x>; rel=\"next\"", NULL},
        {"<http://h/v2/x>; rel=\"next\"", NULL},
        {"<https://h>; rel=\"next\"", NULL},
        {"<//other/v2/x>; rel=\"next\"", NULL},
        {"<x>; rel=\"next\"", NULL},
        {"</v2/x y>; rel=\"next\"", NULL},
        {"</v2/x#y>; rel=\"next\"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        autofree char *next = redirect_next_page("https://h", "/v2/a/tags/list?n=2", cases[i].link);
        if (!next != !cases[i].path || (next && strcmp(next, cases[i].path) != 0))
            fail_msg("%s: %s", cases[i].link, next ? next : "nothing");
    }
}

/* As paths are appended to the source's URL, what it says of itself must not stand there twice. */
static void a_source_below_a_prefix_may_name_its_prefix_or_not(void **state)
{
    static const char *const links[] = {"</proxy/hub/v2/x?n=1>; rel=\"next\"",
                                        "<https://h/proxy/hub/v2/x?n=1>; rel=\"next\"",
                                        "</v2/x?n=1>; rel=\"next\""};
    (void)state;
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        autofree char *next = redirect_next_page("https://h/proxy/hub", "/v2/x", links[i]);
        assert_non_null(next);
        assert_string_equal(next, "/v2/x?n=1");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_location_is_joined_to_where_it_was_said),
        cmocka_unit_test(a_location_that_leads_astray_is_refused_without_repeating_it),
        cmocka_unit_test(the_next_page_is_found_at_its_own_source_only),
        cmocka_unit_test(a_source_below_a_prefix_may_name_its_prefix_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
