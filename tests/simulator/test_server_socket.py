from __future__ import annotations

import http.client
import socket
import time

import pytest

from simulator.http.server_socket import HttpServer


def echo(environ, start):
    body = environ["wsgi.input"].read() or environ["PATH_INFO"].encode("latin-1")
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def server():
    server = HttpServer(0, echo)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def raw(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        yield connection


def test_a_kept_alive_connection_never_waits_for_an_acknowledgement(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    started = time.monotonic()
    for _ in range(50):
        connection.request("GET", "/x")
        connection.getresponse().read()
    connection.close()
    assert time.monotonic() - started < 50 * 0.04 / 2


def test_header_and_body_arrive_together(raw):
    raw.sendall(b"GET /hello HTTP/1.1\r\n\r\n")
    assert raw.recv(4096).endswith(b"\r\n\r\n/hello")


def test_a_body_is_read_to_its_length(raw):
    raw.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nfirstGET /second HTTP/1.1\r\n\r\n")
    answers = b""
    while b"/second" not in answers:
        answers += raw.recv(4096)
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_paths_are_unquoted(raw):
    raw.sendall(b"GET /a%20b HTTP/1.1\r\n\r\n")
    assert raw.recv(4096).endswith(b"/a b")


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"])
def test_a_connection_is_closed_when_the_client_wants_it(raw, head):
    raw.sendall(head)
    while raw.recv(4096):
        pass


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
    ],
)
def test_what_is_no_request_is_a_bad_request(raw, request_bytes):
    raw.sendall(request_bytes)
    assert raw.recv(4096).startswith(b"HTTP/1.1 400")


def test_stopping_ends_connections_that_are_still_open():
    server = HttpServer(0, echo)
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.recv(4096)
        server.stop()
        assert connection.recv(4096) == b""
