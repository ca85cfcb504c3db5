/* SPDX-License-Identifier: Apache-2.0
 * list: images out of files as people have them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "bundle/list.h"

static const char *variable(const char *name)
{
    return strcmp(name, "TAG") == 0 ? "3.20" : strcmp(name, "EMPTY") == 0 ? "" : NULL;
}

static void print(const struct list *l, struct str *out)
{
    for (size_t i = 0; i < l->count; i++) {
        const struct list_item *item = &l->items[i];
        char digest[DIGEST_TEXT_MAX];
        str_format(out, "%s/%s", item->name.registry, item->name.repository);
        if (item->name.tag[0])
            str_format(out, ":%s", item->name.tag);
        if (item->name.digest.algorithm)
            str_format(out, "@%.12s", digest_print(&item->name.digest, digest));
        if (item->pattern)
            str_format(out, " (%s%s)", item->takes_all ? "all of " : "", item->pattern);
        str_format(out, " %s\n", item->place);
    }
}

#define HEX "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *text, *wanted;
} good[] = {
    {"# ours\n\nalpine:3.20\n  ghcr.io/o/app  # the app\r\nbusybox@sha256:" HEX "\n",
     "docker.io/library/alpine:3.20 f:3\nghcr.io/o/app:latest f:4\n"
     "docker.io/library/busybox@sha256:aaaaa f:5\n"},
    {"nginx:1.27.*\nlocalhost:5000/redis:>=7 <8",
     "docker.io/library/nginx (1.27.*) f:1\nlocalhost:5000/redis (>=7 <8) f:2\n"},
    {"name: site\nx-base: &base\n  image: alpine:${TAG}\nservices:\n  web:\n    <<: *base\n"
     "  db: {image: 'postgres:${PG:-16}'}\n  own:\n    build: .\n  q:\n    image: redis:$TAG\n",
     "docker.io/library/alpine:3.20 f:6\ndocker.io/library/postgres:16 f:7\n"
     "docker.io/library/redis:3.20 f:11\n"},
    {"apiVersion: v1\nkind: Pod\nspec:\n  initContainers:\n  - name: i\n    image: busybox:1\n"
     "  containers:\n  - {name: c, image: 'nginx:1'}\n---\nkind: CronJob\nspec:\n  jobTemplate:\n"
     "    spec:\n      template:\n        spec:\n          containers:\n          - image: job:2\n"
     "          ephemeralContainers:\n          - image: debug:3\n",
     "docker.io/library/busybox:1 f:6\ndocker.io/library/nginx:1 f:8\n"
     "docker.io/library/job:2 f:17\ndocker.io/library/debug:3 f:19\n"},
    {"kind: List\nitems:\n- kind: Deployment\n  spec: {template: {spec: {containers: [{image: "
     "a:1}]}}}"
     "\n- kind: Service\n  spec: {ports: [{port: 80}]}\n- kind: DaemonSet\n  spec:\n    template:\n"
     "      spec:\n        containers:\n        - image: b:2\n",
     "docker.io/library/a:1 f:4\ndocker.io/library/b:2 f:12\n"},
    {"{\"kind\": \"Pod\", \"spec\": {\"containers\": [{\"image\": \"quay.io/x/y:1\"}]}}",
     "quay.io/x/y:1 f:1\n"},
    {"apiVersion: content.hauler.cattle.io/v1\nkind: Images\nspec:\n  images:\n"
     "  - name: rancher/cowsay:1\n    platform: linux/amd64\n  - name: ghcr.io/a/b:2\n",
     "docker.io/rancher/cowsay:1 f:5\nghcr.io/a/b:2 f:7\n"},
    {"registry.example.com:\n  tls-verify: false\n  images:\n    redis: ['1.0', \"sha256:" HEX
     "\"]\n"
     "    busybox: []\n  images-by-semver:\n    alpine: \">=3.12.0\"\n",
     "registry.example.com/redis:1.0 f:4\nregistry.example.com/redis@sha256:aaaaa f:4\n"
     "registry.example.com/busybox (all of *) f:5\n"
     "registry.example.com/alpine (all of >=3.12.0) f:7\n"},
    {"- alpine:3\n- busybox:1\n",
     "docker.io/library/alpine:3 f:1\ndocker.io/library/busybox:1 f:2\n"},
};

static void every_form_gives_its_images_with_their_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct error e = {0};
        autolist struct list l = {0};
        autostr struct str out = {0};
        if (list_read(&l, "f", slice_of(good[i].text), variable, &e) < 0)
            fail_msg("%s: %s", good[i].text, e.text);
        print(&l, &out);
        assert_string_equal(str_text(&out), good[i].wanted);
    }
}

static const struct {
    const char *text, *why;
} bad[] = {
    {"", "f names no image"},
    {"# nothing\n", "f names no image"},
    {"services:\n  a:\n    build: .\n", "f names no image"},
    {"alpine\nUPPER:1\n", "f:2: UPPER:1: "},
    {"alpine\nredis:>=x\n", "f:2: "},
    {"alpine busybox\n", "f:1: "},
    {"services:\n  a:\n    image: 'x:${NOPE}'\n", "f:3: NOPE is not set"},
    {"services:\n  a:\n    image: 'x:${EMPTY:?say which}'\n", "f:3: EMPTY is not set: say which"},
    {"services:\n  a:\n    image: 'x:${TAG'\n", "f:3: a ${ without its }"},
    {"services:\n  a:\n    image: 'x:${TAG/a/b}'\n", "f:3: ${TAG/a/b}: not understood"},
    {"services:\n  a:\n    image: [x]\n", "f:3: an image's name should stand here"},
    {"kind: Pod\nspec:\n  containers:\n  - image: {a: b}\n",
     "f:4: an image's name should stand here"},
    {"a: [\n", "f:2: "},
    {"a: *b\n", "f:1: *b stands for nothing that is whole"},
    {"a: &a [*a]\n", "f:1: *a stands for nothing that is whole"},
    {"? [a]\n: b\n", "f:1: "},
    {"r.example:\n  images-by-tag-regex:\n    redis: ^1$\n", "f:3: tags by regular expression"},
    {"r.example:\n  images:\n    redis: {a: b}\n", "f:3: a list of tags should stand here"},
};

static void every_mistake_names_its_line_and_nothing_is_added(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error e = {0};
        autolist struct list l = {0};
        assert_int_equal(list_add(&l, slice_of("before:1"), &e), 0);
        assert_int_equal(list_read(&l, "f", slice_of(bad[i].text), variable, &e), -1);
        if (strncmp(e.text, bad[i].why, strlen(bad[i].why)) != 0)
            fail_msg("%s: %s", bad[i].text, e.text);
        assert_int_equal(l.count, 1);
    }
}

static void depth_nodes_and_aliases_are_bounded(void **state)
{
    struct error e = {0};
    autolist struct list l = {0};
    autostr struct str deep = {0}, laughs = {0}, wide = {0};
    (void)state;
    for (int i = 0; i < 10000; i++)
        str_add(&deep, "{a: ");
    assert_int_equal(list_read(&l, "f", slice_of(str_text(&deep)), NULL, &e), -1);
    assert_string_equal(e.text, "f:1: nested deeper than 64");
    str_add(&laughs, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 10; i++) {
        str_format(&laughs, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            str_format(&laughs, "%s*a%d", k ? ", " : "", i - 1);
        str_add(&laughs, "]\n");
    }
    assert_int_equal(list_read(&l, "f", slice_of(str_text(&laughs)), NULL, &e), -1);
    assert_non_null(strstr(e.text, "more than 100000 nodes"));
    str_add(&wide, "services: {a: {image: a}}\nb:\n");
    for (int i = 0; i < 100001; i++)
        str_add(&wide, "- x\n");
    assert_int_equal(list_read(&l, "f", slice_of(str_text(&wide)), NULL, &e), -1);
    assert_non_null(strstr(e.text, "more than 100000 nodes"));
    str_clear(&wide);
    for (int i = 0; i <= LIST_ITEMS_MAX; i++)
        str_add(&wide, "alpine\n");
    assert_int_equal(list_read(&l, "f", slice_of(str_text(&wide)), NULL, &e), -1);
    assert_string_equal(e.text, "f:10001: more than 10000 images");
    assert_int_equal(l.count, 0);
}

static void variables_are_those_of_compose(void **state)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"a$$b", "a$b"},
        {"$TAG-x", "3.20-x"},
        {"${TAG}", "3.20"},
        {"${TAG:-1}", "3.20"},
        {"${EMPTY:-1}", "1"},
        {"${EMPTY-1}", ""},
        {"${NOPE-1}", "1"},
        {"${NOPE:-}", ""},
        {"${TAG:+yes}", "yes"},
        {"${EMPTY:+yes}", ""},
        {"${EMPTY+yes}", "yes"},
        {"${EMPTY?no}", ""},
        {"${NOPE:-a:b/c}", "a:b/c"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e = {0};
        autostr struct str out = {0};
        if (list_interpolate(cases[i].text, variable, &out, &e) < 0)
            fail_msg("%s: %s", cases[i].text, e.text);
        assert_string_equal(str_text(&out), cases[i].wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_gives_its_images_with_their_lines),
        cmocka_unit_test(every_mistake_names_its_line_and_nothing_is_added),
        cmocka_unit_test(depth_nodes_and_aliases_are_bounded),
        cmocka_unit_test(variables_are_those_of_compose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
