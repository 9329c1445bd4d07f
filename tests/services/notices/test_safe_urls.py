"""No registered URL can reach our own network."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import requests

from domain.errors import UnsafeUrl
from services.notices import safe_urls
from tests.providers.stub import Stub, reply

PUBLIC = ("93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "2002:5db8:d822::1")
NOT_PUBLIC = (
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::5db8:d822",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_on_the_internet_is_public(address: str):
    assert safe_urls.is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_private_address_is_not_public(address: str):
    assert not safe_urls.is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "0.0.0.0",
        "0",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "LOCALHOST",
        "localhost.",
    ],
)
def test_a_url_to_a_private_address_is_refused_however_it_is_written(host: str):
    with pytest.raises(UnsafeUrl):
        safe_urls.check(f"https://{host}/", allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/hooks",
        "//example.com/",
        "https://",
        "http://8.8.8.8/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "gopher://8.8.8.8/",
        "https://user@8.8.8.8/",
        "https://user:password@8.8.8.8/",
        "https://8.8.8.8/#part",
        "https://8.8.8.8:0/",
        "https://8.8.8.8:99999/",
        "https://8.8.8.8:port/",
        "https://8.8.8.8\\@127.0.0.1/",
        "https://8.8.8.8/a b",
        "https://8.8.8.8/\nHost: x",
        "https://[::1",
        "https://exämple.com/",
        "https://8.8.8.8/" + "x" * safe_urls.LONGEST_URL,
    ],
)
def test_a_url_of_another_form_is_refused(url: str):
    with pytest.raises(UnsafeUrl):
        safe_urls.check(url, allow_private=False)


@pytest.mark.parametrize(
    "url", ["https://8.8.8.8/", "https://8.8.8.8:8443/hooks?tenant=1", "https://[2606:2800:220:1::1]/"]
)
def test_a_public_url_is_accepted(url: str):
    safe_urls.check(url, allow_private=False)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000/", "http://receiver.internal/hooks", "https://10.0.0.1/"]
)
def test_private_addresses_are_accepted_if_the_operator_allows_them(url: str):
    safe_urls.check(url, allow_private=True)


class Names:
    """Stands in for the name server: gives its answers one after another, and the last one ever after."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in answer
        ]


def answering(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> Names:
    names = Names(*answers)
    monkeypatch.setattr(safe_urls.socket, "getaddrinfo", names.getaddrinfo)
    return names


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    stub.replies = [reply(204)]
    yield stub
    stub.close()


def port_of(stub: Stub) -> int:
    return int(stub.url.rpartition(":")[2])


def post(url: str) -> requests.Response:
    with safe_urls.new_session(allow_private=False) as http:
        return http.post(url, data=b"{}", timeout=(1, 1), allow_redirects=False)


def test_a_name_that_does_not_resolve_is_refused(monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch, [])
    with pytest.raises(UnsafeUrl):
        safe_urls.check("https://nowhere.example/", allow_private=False)


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(UnsafeUrl):
        safe_urls.check("https://mixed.example/", allow_private=False)


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    hung = safe_urls.threading.Event()
    monkeypatch.setattr(safe_urls.socket, "getaddrinfo", lambda *_, **__: hung.wait(30) and [])
    monkeypatch.setattr(safe_urls, "_LOOKUP_SECONDS", 0.05)
    with pytest.raises(UnsafeUrl):
        safe_urls.check("https://slow.example/", allow_private=False)
    hung.set()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254"])
def test_a_name_that_resolves_to_another_address_after_its_check_is_refused_when_sending(
    monkeypatch: pytest.MonkeyPatch, stub: Stub, address: str
):
    answering(monkeypatch, ["93.184.216.34"], [address])
    url = f"https://rebound.example:{port_of(stub)}/"
    safe_urls.check(url, allow_private=False)
    with pytest.raises(UnsafeUrl):
        post(url)
    assert stub.connections == 0


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch, stub: Stub):
    names = answering(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    monkeypatch.setattr(safe_urls, "is_public", lambda address: address == "127.0.0.1")
    answer = post(f"http://pinned.example:{port_of(stub)}/hooks")
    assert answer.status_code == 204
    assert names.asked == ["pinned.example"]
    assert f"Host: pinned.example:{port_of(stub)}" in stub.requests[0]


def test_the_next_address_is_tried_when_one_refuses(monkeypatch: pytest.MonkeyPatch, stub: Stub):
    answering(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    monkeypatch.setattr(safe_urls, "is_public", lambda _: True)
    assert post(f"http://two.example:{port_of(stub)}/").status_code == 204


def test_tls_asks_for_the_name_and_not_for_the_address(monkeypatch: pytest.MonkeyPatch):
    hello: list[bytes] = []

    def hear(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            hello.append(connection.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering(monkeypatch, ["127.0.0.1"])
        monkeypatch.setattr(safe_urls, "is_public", lambda _: True)
        taker = safe_urls.threading.Thread(target=hear, args=[listener])
        taker.start()
        with pytest.raises(requests.RequestException):
            post(f"https://named.example:{listener.getsockname()[1]}/")
        taker.join(5)
    assert b"named.example" in hello[0]


def test_proxies_in_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch, stub: Stub):
    monkeypatch.setenv("HTTPS_PROXY", stub.url)
    monkeypatch.setenv("HTTP_PROXY", stub.url)
    with pytest.raises(UnsafeUrl):
        post("http://127.0.0.1:9/")
    assert stub.connections == 0
