# SPDX-License-Identifier: Apache-2.0
"""Lists of images and patterns of tags: what pull and export make of them."""

import json
import subprocess

import bundles
import images
import pytest
from harness import binary, clean_environment
from test_pull import held, pull  # noqa: F401 (a fixture)

COMPOSE = """\
services:
  web:
    image: web:${WEB_TAG:-1}
  again: {image: "web:1"}
  own: {build: .}
"""
KUBERNETES = """\
apiVersion: batch/v1
kind: CronJob
spec:
  jobTemplate:
    spec:
      template:
        spec:
          initContainers: [{name: i, image: "first:1"}]
          containers: [{name: c, image: "job:1"}]
---
apiVersion: v1
kind: Service
"""


@pytest.fixture
def shelf(fake):
    """{name: image} of library/NAME:1 for some names."""
    return {name: fake.add(f"library/{name}", images.image([name.encode()]), "1") for name in ("web", "first", "job", "more")}


def names(run):
    return [i["image"].removeprefix("docker.io/library/") for i in json.loads(run.out)["images"]]


@pytest.mark.parametrize("text, wanted", [
    ("# ours\nmore:1   # and no more\n\nweb:1\n", ["more:1", "web:1"]), (COMPOSE, ["web:1"]), (KUBERNETES, ["first:1", "job:1"]),
    ("apiVersion: content.hauler.cattle.io/v1\nkind: Images\nspec:\n  images:\n  - name: more:1\n", ["more:1"]),
    ("docker.io:\n  images:\n    library/web: ['1']\n    library/more: []\n", ["web:1", "more:1"])],
    ids=["text", "compose", "kubernetes", "hauler", "skopeo"])
def test_a_list_of_each_form_is_pulled(pull, shelf, tmp_path, text, wanted):
    (tmp_path / "list").write_text(text)
    run = pull("--json", "--no-referrers", "--from", tmp_path / "list").end()
    assert names(run) == wanted
    assert held(pull.data) == {d for name in wanted for d in bundles.all_of(shelf[name.split(":")[0]])}


def test_a_list_comes_by_standard_input_beside_names(fake, shelf, tmp_path):
    settings = clean_environment(TRANSHIP_UPSTREAM=fake.url, WEB_TAG="1")
    done = subprocess.run([binary(), "pull", "--json", "--no-referrers", "--data", tmp_path / "data", "--from", "-", "more:1"],
                          input=COMPOSE.encode(), capture_output=True, env=settings, timeout=60, check=True)
    assert [i["image"] for i in json.loads(done.stdout)["images"]] == ["docker.io/library/more:1", "docker.io/library/web:1"]


@pytest.mark.parametrize("text, why", [
    ("web:1\nWEB:1\n", "list:2: WEB:1: "), ("services:\n  a:\n    image: x:${NOT_SET}\n", "list:3: NOT_SET is not set"),
    ("services: [\n", "list:2: "), ("", "list names no image"), ("- &a [*a]\n", "list:1: *a stands for nothing")])
def test_a_mistake_in_a_list_names_its_line_and_nothing_is_pulled(fake, pull, tmp_path, text, why):
    (tmp_path / "list").write_text(text)
    run = pull("--from", tmp_path / "list").end(1)
    assert run.err.startswith(f"tranship: {tmp_path}/{why}") and run.err.count("\n") == 1
    assert not fake.asked()
    assert "no-such-list" in pull("--from", tmp_path / "no-such-list").end(1).err


@pytest.fixture
def redis(fake):
    """library/redis under many tags; the list comes in pages of three."""
    fake.page_size = 3
    tags = ["6.2.0", "7", "7.0", "7.0.9", "7.4.2", "7.4.10", "7.4.10-alpine", "8.0.0", "8.0-rc1", "latest"]
    return {tag: fake.add("library/redis", images.image([tag.encode()]), tag) for tag in tags}


@pytest.mark.parametrize("pattern, newest, all_of_them", [
    ("7.4.*", "7.4.10", ["7.4.10", "7.4.2"]), (">=7 <8", "7.4.10", ["7.4.10", "7.4.2", "7.0.9", "7.0", "7"]),
    ("7.4.*-alpine", "7.4.10-alpine", ["7.4.10-alpine"]), (">=7", "8.0.0", None), ("~7.0", "7.0.9", None), ("lat*", "latest", None)])
def test_a_pattern_means_the_newest_tag_that_matches_or_all_of_them(pull, redis, pattern, newest, all_of_them):
    run = pull("--json", "--no-referrers", f"redis:{pattern}").end()
    assert names(run) == [f"redis:{newest}"]
    assert held(pull.data) == set(bundles.all_of(redis[newest]))
    assert f"tranship: docker.io/library/redis:{pattern} is {newest} (" in run.err and " of 10 tags match)" in run.err
    if all_of_them:
        run = pull("--json", "--no-referrers", "--all-tags", f"redis:{pattern}").end()
        assert names(run) == [f"redis:{tag}" for tag in all_of_them]


def test_a_pattern_that_nothing_matches_tells_how_many_tags_there_are(pull, redis, shelf):
    run = pull("redis:9.*", "web:1").end(1)
    assert run.err == "tranship: docker.io/library/redis:9.*: none of 10 tags matches\n"
    run = pull("--json", "--no-referrers", "--keep-going", "redis:9.*", "web:1").end(1)
    assert [i["is_done"] for i in json.loads(run.out)["images"]] == [False, True]
    assert "library/nothing:9.*" in pull("nothing:9.*").end(1).err


def test_a_pattern_that_is_none_is_refused(fake, pull):
    assert "no pattern" in pull("redis:>=seven").end(2).err
    assert not fake.asked()


def test_export_takes_lists_and_patterns(pull, redis, shelf, tmp_path):
    (tmp_path / "list").write_text("redis:7.4.*\nweb:1\n")
    words = ["-o", tmp_path / "b.tar", "--no-referrers", "--from", tmp_path / "list"]
    pull(*words, verb="export").end()
    assert bundles.blobs_in(tmp_path / "b.tar") == set(bundles.all_of(redis["7.4.10"]) | bundles.all_of(shelf["web"]))
    assert "patterns need the registry's list of tags" in pull(*words, "--no-pull", verb="export").end(2).err
