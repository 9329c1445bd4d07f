"""The provider behind a proxy: every request goes through the proxy."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from time import monotonic, sleep

import pytest

from domain.errors import SettingsError
from domain.provider_errors import TransientError
from providers.dodo.provider import build
from runtime.settings import Settings
from runtime.wiring import build as build_runtime
from tests.conftest import SECRET
from tests.providers.stub import Stub, closed_port, reply


@pytest.fixture
def proxy() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.close()


def through(proxy: str, base_url: str):
    return build(base_url=base_url, api_key="key", secrets=[SECRET], proxy=proxy)


def test_a_request_goes_to_the_proxy_with_its_whole_address(proxy: Stub):
    proxy.replies = [reply(200, {"items": []})]
    dodo = through(proxy.url.replace("//", "//user:p%40ss@"), "http://provider.example:8080")
    assert dodo.may_read()
    assert proxy.paths[0].startswith("http://provider.example:8080/subscriptions")
    assert base64.b64encode(b"user:p@ss").decode() in proxy.requests[0]


def test_with_https_the_proxy_only_connects(proxy: Stub):
    proxy.replies = [reply(403)]
    with pytest.raises(TransientError):
        through(proxy.url, "https://provider.example").may_read()
    assert proxy.requests[0].startswith("CONNECT provider.example:443")
    assert "key" not in proxy.requests[0]


def test_a_proxy_that_drips_is_given_up_in_time(proxy: Stub):
    def drip(connection) -> None:
        for sign in b"HTTP/1.1 200 OK\r\n" * 20:
            connection.sendall(bytes([sign]))
            sleep(0.2)

    proxy.replies = [drip]
    began = monotonic()
    with pytest.raises(TransientError):
        through(proxy.url, "http://provider.example").may_read()
    assert monotonic() - began < 10


def test_without_the_proxy_nothing_is_sent(proxy: Stub):
    with pytest.raises(TransientError):
        through(f"http://127.0.0.1:{closed_port()}", proxy.url).may_read()
    assert proxy.requests == []


def test_the_setting_reaches_the_provider(environment: dict[str, str], proxy: Stub):
    proxy.replies = [reply(200, {"items": []})]
    told = {
        **environment,
        "SEATSYNC_PROVIDER_PROXY": proxy.url,
        "DODO_PAYMENTS_BASE_URL": "http://127.0.0.1:9",
    }
    runtime = build_runtime(Settings.from_env(told))
    assert runtime.provider.may_read()
    runtime.close()
    assert len(proxy.requests) == 1


def test_proxies_of_the_environment_are_not_followed(proxy: Stub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    proxy.replies = [reply(200, {"items": []})]
    assert build(base_url=proxy.url, api_key="key", secrets=[SECRET]).may_read()


@pytest.mark.parametrize(
    "address",
    ["proxy:3128", "socks5://proxy:1080", "http://", "http://u:s3cret@host:99999", "http://h/s3cret"],
)
def test_an_address_that_is_none_of_a_proxy_is_refused_and_not_shown(
    environment: dict[str, str], address: str
):
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({**environment, "SEATSYNC_PROVIDER_PROXY": address})
    assert "SEATSYNC_PROVIDER_PROXY" in str(refused.value)
    assert "s3cret" not in str(refused.value)
