# SPDX-License-Identifier: Apache-2.0
"""/metrics: exact numbers after known traffic, by route, registry, outcome and source; over a reload too. Prometheus' own
tools read the page, the alerts and the board."""

import collections
import json
import re
import subprocess
import urllib.parse
import urllib.request

import images
import parts
import pytest
from harness import TOP, wait_until
from test_config_file import begin, file, other, reload  # pylint: disable=unused-import  # fixtures
from test_mirrors import IMAGE, LAYER, NAME, SLOW, pool, pool_of, pull  # pylint: disable=unused-import

DATA = images.random_bytes(200_000, "metrics")
RULES, BOARD = TOP / "etc/tranship.rules.yml", TOP / "etc/tranship-grafana.json"


def by_labels(page, name):
    """{(value, …): number} of the series of that name that are not about the asking for the page itself."""
    return {tuple(v for _, v in labels): n for (full, labels), n in page.items()
            if full == f"tranship_{name}" and ("route", "metrics") not in labels}


OUTCOMES = {
    "tranship; hit": "hit", "tranship; fwd=uri-miss; stored": "stored", "tranship; fwd=uri-miss": "forwarded",
    "tranship; fwd=uri-miss; collapsed": "collapsed", "tranship; fwd=stale; fwd-status=200": "revalidated",
    "tranship; fwd=stale; detail=served-stale": "stale", None: "none"}


class Witness:
    """Asks, and counts for itself what it was answered."""

    def __init__(self, mirror):
        self.mirror = mirror
        self.requests, self.served, self.routes = (collections.Counter() for _ in range(3))

    def ask(self, route, registry, path, *headers, method="GET"):
        reply = (self.mirror.head if method == "HEAD" else self.mirror.get)(path, headers)
        cache = "none" if reply.status >= 400 else OUTCOMES[reply.header("cache-status")]
        self.requests[route, registry, cache, f"{reply.status // 100}xx"] += 1
        self.served[route, registry, cache] += len(reply.body)
        self.routes[route,] += 1
        return reply.status, cache

    def ask_of_all_kinds(self, registry, name, image):
        manifest, blob = f"/v2/{name}/manifests/{image.digest}", f"/v2/{name}/blobs/{image.layer}"
        size = len(image.blobs[image.layer])
        assert self.ask("manifest", registry, f"/v2/{name}/manifests/latest") == (200, "stored")
        self.mirror.wait_held(image.digest)
        assert self.ask("manifest", registry, manifest, method="HEAD") == (200, "hit")
        assert self.ask("blob", registry, blob) == (200, "stored")
        self.mirror.wait_held(image.layer)
        wait_until(lambda: self.ask("blob", registry, blob) == (200, "hit"))
        assert self.ask("blob", registry, blob, ("Range", f"bytes={size - 10}-")) == (206, "hit")
        assert self.ask("blob", registry, blob, ("Range", f"bytes={size}-")) == (416, "none")
        assert self.ask("blob", registry, blob, ("If-None-Match", f'"{image.layer}"')) == (304, "hit")
        assert self.ask("manifest", registry, f"/v2/{name}/manifests/nope") == (404, "none")
        self.ask("tags", registry, f"/v2/{name}/tags/list")
        self.ask("referrers", registry, f"/v2/{name}/referrers/{image.digest}")

    def ask_beside(self):
        for route, path in (("manifest", "/v2/a/b/manifests/x?ns=elsewhere.example"), ("base", "/v2/"), ("healthz", "/healthz"),
                            ("readyz", "/readyz"), ("unknown", "/nowhere"), ("catalog", "/v2/_catalog")):
            self.ask(route, "", path)

    def agrees(self):
        page = self.mirror.settled()
        assert by_labels(page, "requests_total") == self.requests
        assert by_labels(page, "served_bytes_total") == +self.served
        assert by_labels(page, "request_duration_seconds_count") == self.routes
        assert by_labels(page, "request_first_byte_seconds_count") == self.routes
        saved = sum(n for (_, _, cache), n in self.served.items() if cache in ("hit", "collapsed", "revalidated", "stale"))
        assert page["tranship_saved_bytes_total", ()] == saved > 0
        for route in self.routes:
            key = (("route", *route),)
            assert page["tranship_request_duration_seconds_bucket", (*key, ("le", "+Inf"))] == self.routes[route]
            assert page["tranship_request_first_byte_seconds_sum", key] <= page["tranship_request_duration_seconds_sum", key]
        return page


def test_requests_are_counted_by_route_registry_and_outcome_over_a_reload_too(fake, other, begin, file):
    what = {"registries": {"docker.io": {"origin": fake.url}, "quay.io": {"origin": other.url}}}
    mirror = begin(what)
    witness = Witness(mirror)
    hub = fake.add("library/demo", images.image([DATA]), "latest")
    quay = other.add("team/app", images.image([DATA[::-1]]), "latest")
    witness.ask_of_all_kinds("docker.io", "library/demo", hub)
    witness.ask_of_all_kinds("quay.io", "quay.io/team/app", quay)
    witness.ask_beside()
    before = witness.agrees()
    assert before["tranship_upstream_bytes_total", ()] == sum(
        n for (full, _), n in before.items() if full == "tranship_source_bytes_total")

    what["registries"]["docker.io"]["tag_ttl"] = "1h"
    del what["registries"]["quay.io"]
    file.write(what)
    assert reload(mirror)["registries"] == "changed"
    witness.ask("manifest", "docker.io", f"/v2/library/demo/manifests/{hub.digest}")
    after = witness.agrees()
    for key in (("registry", "docker.io"), ("source", fake.url), ("role", "origin")), \
               (("registry", "quay.io"), ("source", other.url), ("role", "origin")):
        assert after["tranship_source_requests_total", key] == before["tranship_source_requests_total", key] > 0
    assert ("tranship_source_out", key) in before and ("tranship_source_out", key) not in after


def test_readers_of_a_blob_are_counted_and_only_whole_answers_are_served(tranship, fake):
    data = images.random_bytes(3_000_000, "readers")
    image = fake.add("library/demo", images.image([data]), "latest")
    fault = fake.fault("blobs", stall_at=1_000_000)
    with tranship.wire() as one, tranship.wire() as two:
        for client in (one, two):
            client.ask(f"/v2/library/demo/blobs/{image.layer}")
            assert client.head().status == 200
        page = wait_until(lambda: (p := tranship.metrics())["tranship_flow_readers", ()] == 2 and p)
        assert page["tranship_flows", ()] == page["tranship_transfers", ()] == 1
        assert page["tranship_requests_under_way", ()] == 3
        two.close()
        fault.release()
        assert one.drain(len(data), data) == len(data)
    page = tranship.settled()
    assert page["tranship_flow_readers", ()] == 0
    requests = {labels: n for labels, n in by_labels(page, "requests_total").items() if "blob" in labels}
    assert requests == {("blob", "docker.io", "stored", "2xx"): 1, ("blob", "docker.io", "collapsed", "2xx"): 1}
    assert by_labels(page, "served_bytes_total") == {("blob", "docker.io", "stored"): len(data)}


def source_numbers(mirror, source):
    """{name: number} of the series of that source; its failures by reason."""
    found = {}
    for (name, labels), number in mirror.settled().items():
        if ("source", source.url) in labels and "first_byte" not in name:
            reason = dict(labels).get("reason")
            found[name.removeprefix("tranship_source_") + (f" {reason}" if reason else "")] = number
    return found


def test_sources_are_told_apart_by_what_they_do(pool_of, begin, file):
    sources = pool_of(2)
    dead, limiting, good = sources.all
    keys = {"origin": good.url, "mirrors": [m.url for m in sources.mirrors]}
    limiting.fault("registry", status=429, headers={"Retry-After": "600"})
    good.fault("registry HEAD", headers={"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"})
    dead.stop()
    mirror = begin({"registries": {"docker.io": keys}}, **SLOW)
    pull(mirror)

    numbers = source_numbers(mirror, dead)
    assert numbers["requests_total"] == numbers["failures_total error"] >= 1
    assert numbers["out"] == 1 and numbers["limited"] == 0 and numbers["bytes_total"] == 0
    numbers = source_numbers(mirror, limiting)
    assert numbers["requests_total"] == numbers["limits_total"] == len(limiting.asked()) == 1
    assert numbers["out"] == 0 and numbers["limited"] == 1
    numbers = source_numbers(mirror, good)
    assert numbers["requests_total"] == len(good.asked()) and numbers["bytes_total"] == sum(
        r.sent for r in good.asked() if r.method == "GET")
    assert sum(n for name, n in numbers.items() if name.startswith(("failures", "limit"))) == 0
    assert numbers["out"] == numbers["limited"] == numbers["requests_under_way"] == 0 and numbers["latency_seconds"] >= 0
    assert numbers["rate_limit"] == 100 and numbers["rate_remaining"] == 76
    assert mirror.metric("source_first_byte_seconds_count", source=good.url, role="origin") == len(good.asked())
    assert mirror.metric("sources_out") == 1

    file.write({"registries": {"docker.io": keys | {"mirrors": [limiting.url]}}})
    assert reload(mirror)["registries"] == "changed"
    assert mirror.metric("sources_out") == 0
    assert "out" not in source_numbers(mirror, dead) and source_numbers(mirror, dead)["failures_total error"] >= 1


# --- Prometheus ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def promtool():
    tool = parts.find("promtool") or pytest.skip("no promtool here")

    def promtool(*words, text=None):
        done = subprocess.run([tool, *words], input=text, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr
    return promtool


def test_promtool_has_nothing_to_say_about_the_page(pool, front_with_traffic, promtool):
    reply = front_with_traffic.get("/metrics")
    assert reply.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    assert promtool("check", "metrics", text=reply.body.decode()) == ""


@pytest.fixture
def front_with_traffic(pool, start):
    front = start(mirror=pool.urls, **SLOW)
    pool.mirrors[0].fault("registry", status=500)
    pull(front)
    assert front.blob(NAME, LAYER).body == IMAGE.blobs[LAYER]
    front.get("/v2/library/none/manifests/x")
    return front


def declared():
    """{name: labels} of every series that metrics.def leads to."""
    table, found = (TOP / "src/base/metrics.def").read_text(), {}
    for kind, name, rest in re.findall(r"^(COUNTER|GAUGE|FAMILY|PROCESS)\((\w+),\s*(.*)", table, re.M):
        prefix = "process" if kind == "PROCESS" else "tranship"
        kind, labels = re.match(r'"(\w+)",\s*"([\w ]*)"', rest).groups() if kind in ("FAMILY", "PROCESS") else (kind, "")
        labels = set(labels.split())
        for suffix in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
            found[f"{prefix}_{name}{suffix}"] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def test_every_series_of_the_page_is_declared_with_these_labels(front_with_traffic):
    table, page = declared(), front_with_traffic.metrics()
    assert {name for name, _ in page} == {n for n in table if not re.search("rate_(limit|remaining)$", n)}
    for name, labels in page:
        assert {label for label, _ in labels} == table[name], name


def expressions():
    """{where: expression} of the alerts and of the board."""
    found = dict(re.findall(r"alert: (\w+)\n +expr: (?:>-\n)?((?:.|\n)*?)\n +(?:for|labels):", RULES.read_text()))
    for panel in json.loads(BOARD.read_text())["panels"]:
        for target in panel["targets"]:
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    return found


def test_the_alerts_and_the_board_name_what_there_is(promtool):
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    table, asked = declared(), expressions()
    assert len(asked) > 30
    for where, expression in asked.items():
        names = set(re.findall(r"\b(?:tranship|process)_\w+", expression))
        assert names <= set(table) and (names or "up{" in expression), where
        known = {"instance", "job"}.union(*(table[n] for n in names))
        for labels in re.findall(r"\bby \(([\w, ]+)\)", expression) + re.findall(r"\{(.*?)\}", expression):
            assert set(re.findall(r"(\w+)\s*(?:=|!=|=~|,|$)", re.sub(r'"[^"]*"', "", labels))) <= known, (where, labels)


class Prometheus(parts.Part):
    """The real one, which scrapes a mirror every tenth of a second."""

    def __init__(self, folder, port):
        scrape = {"job_name": "tranship", "scrape_interval": "100ms", "scrape_timeout": "100ms",
                  "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        config = {"global": {"evaluation_interval": "200ms"}, "scrape_configs": [scrape], "rule_files": [str(RULES)]}
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        super().__init__([parts.find("prometheus"), f"--config.file={folder}/prometheus.yml",
                          f"--storage.tsdb.path={folder}/tsdb", "--web.listen-address=127.0.0.1:0"], folder / "prometheus.log")
        self.port = int(self.wait_log(r"[Ll]istening on\W+address=127\.0\.0\.1:(\d+)")[1])
        self.wait_log("Server is ready")

    def ask(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as reply:
            return json.load(reply)["data"]


def test_prometheus_scrapes_the_page_and_works_out_the_alerts_and_the_board(front_with_traffic, tmp_path):
    if not parts.find("prometheus"):
        pytest.skip("no prometheus here")
    prometheus = Prometheus(tmp_path, front_with_traffic.port)
    try:
        wait_until(lambda: prometheus.ask("query", query='up{job="tranship"} == 1')["result"], 30, "a scrape")
        def worked_out():
            rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
            return all(rule["health"] == "ok" for rule in rules) and rules
        rules = wait_until(worked_out, 30, "an evaluation")
        assert {rule["name"] for rule in rules} == {where for where in expressions() if where.startswith("Tranship")}
        wait_until(lambda: any(rule["alerts"] for rule in worked_out() or []), 30, "an alert")
        pending = {rule["name"] for rule in worked_out() if rule["alerts"]}
        assert "TranshipSourceOut" in pending and "TranshipDown" not in pending
        for expression in expressions().values():
            known = {"$instance": ".*", "$__range": "1h", "$__rate_interval": "1m"}
            for variable, value in known.items():
                expression = expression.replace(variable, value)
            prometheus.ask("query", query=expression)  # refused with 400 if it makes no sense
        [stored] = prometheus.ask("query", query='tranship_requests_total{route="blob",cache="stored"}')["result"]
        assert int(stored["value"][1]) == len(IMAGE.blobs)
    finally:
        prometheus.stop()
