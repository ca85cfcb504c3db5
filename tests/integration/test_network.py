# SPDX-License-Identifier: Apache-2.0
"""The way to the upstream: TLS with a certificate of one's own, proxies, and whom not to trust."""

import ssl

import images
import pytest
from fake_registry import FakeRegistry

IMAGE = images.image([images.random_bytes(100_000, "network")])


@pytest.fixture
def secure(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    fake = FakeRegistry(tls=context)
    fake.add("library/demo", IMAGE, "latest")
    yield fake
    fake.heal()
    fake.stop()


def pull(mirror):
    assert mirror.manifest("demo", "latest").body == IMAGE.manifest
    assert mirror.blob("demo", IMAGE.layer).body == IMAGE.blobs[IMAGE.layer]


def test_an_https_upstream_whose_certificate_is_known_works_with_token_and_cdn(secure, start, certificate):
    secure.auth = "bearer"
    secure.use_cdn()
    pull(start(upstream=secure.url, environment={"SSL_CERT_FILE": str(certificate[0])}))
    assert secure.asked("cdn") and secure.asked("token")


def test_an_unknown_certificate_is_an_outage(secure, start):
    mirror = start(upstream=secure.url)
    assert mirror.manifest("demo", "latest").status == 502
    assert secure.asked() == []


def test_a_step_down_from_https_to_http_is_refused(secure, fake, start, certificate):
    fake.add("library/demo", IMAGE, "latest")
    secure.redirect = lambda digest: (307, f"{fake.url}/v2/library/demo/blobs/{digest}")
    mirror = start(upstream=secure.url, environment={"SSL_CERT_FILE": str(certificate[0])})
    assert mirror.manifest("demo", "latest").status == 200
    assert mirror.blob("demo", IMAGE.layer).status == 502
    assert fake.asked() == []


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_a_proxy_is_used(fake, start, variable):
    fake.add("library/demo", IMAGE, "latest")
    pull(start(upstream="http://registry.invalid:5000", environment={variable: fake.url}))
    assert all(r.target.startswith("http://registry.invalid:5000/v2/") for r in fake.asked("registry"))


def test_no_proxy_goes_straight(fake, start):
    fake.add("library/demo", IMAGE, "latest")
    pull(start(environment={"http_proxy": "http://127.0.0.1:1", "no_proxy": "example.com,127.0.0.1"}))


def test_a_dead_proxy_is_an_outage(fake, start):
    mirror = start(upstream="http://registry.invalid:5000", environment={"http_proxy": "http://127.0.0.1:1"})
    assert mirror.manifest("demo", "latest").status == 502


def test_a_name_that_does_not_resolve_is_an_outage(start):
    assert start(upstream="http://registry.invalid:5000").manifest("demo", "latest").status in (502, 504)


def test_an_upstream_below_a_path_works(fake, start):
    fake.add("library/demo", IMAGE, "latest")
    fake.prefix = "/some/where"
    pull(start(upstream=fake.url + "/some/where"))
