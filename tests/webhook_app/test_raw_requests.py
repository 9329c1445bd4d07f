"""Requests no HTTP library sends, over real connections to the real web server."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from tests.cli.conftest import SEATSYNC
from tests.conftest import API_KEY, PROVIDER_KEY, SECRET
from tests.factories import CATALOG_TEXT
from tests.servers import Databases, RedisDatabases
from tests.stack import free_port, wait_until

KEY = f"Authorization: Bearer {API_KEY}\r\n"
JSON = "Content-Type: application/json\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


CLOSED = None
GRACEFUL_TIMEOUT = 10.0


class Answer(NamedTuple):
    status: int | None
    text: str

    @property
    def problem(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.text.partition("\r\n\r\n")[2])


class Web:
    """The web process as the Procfile starts it."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.port = int(environment["PORT"])
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen([SEATSYNC, "web"], env=environment, stdout=output, stderr=output)

    def __enter__(self) -> Self:
        wait_until(
            lambda: self.send("GET /healthz HTTP/1.1\r\n").status == 200,
            "the web answers",
            self.log,
            seconds=120,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def send(self, head: str, body: bytes = b"") -> Answer:
        """Send a request as it stands, and that nothing more comes."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
                whole = f"{head}Host: seatsync\r\nConnection: close\r\n\r\n".encode("latin-1")
                connection.sendall(whole + body)
                connection.shutdown(socket.SHUT_WR)
                return _read(connection)
        except OSError:
            return Answer(None, "")

    def stop(self) -> float:
        """Ask for the end; returns the seconds until it came."""
        began = time.monotonic()
        self._process.terminate()
        self._process.wait(30)
        return time.monotonic() - began

    def connect(self, sent: bytes) -> socket.socket:
        """A connection on which this much was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(sent)
        return connection

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")


def _read(connection: socket.socket) -> Answer:
    received = b""
    while piece := connection.recv(65_536):
        received += piece
    found = re.match(rb"HTTP/1\.1 (\d+)", received)
    return Answer(int(found[1]) if found else None, received.decode(errors="replace"))


@pytest.fixture(scope="module")
def make_web(
    postgres: Databases, redis_databases: RedisDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Web]:
    folder = tmp_path_factory.mktemp("raw")
    (folder / "catalog.toml").write_text(CATALOG_TEXT, encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": postgres.create_database("raw", is_migrated=True),
        "REDIS_URL": redis_databases.empty_database(1),
        "DODO_PAYMENTS_API_KEY": PROVIDER_KEY,
        "DODO_PAYMENTS_WEBHOOK_KEY": SECRET,
        "DODO_PAYMENTS_BASE_URL": "http://127.0.0.1:9",
        "SEATSYNC_CATALOG": str(folder / "catalog.toml"),
        "SEATSYNC_API_KEY": API_KEY,
        "SEATSYNC_HOME": str(folder / "home"),
    }

    def make() -> Web:
        given = {**environment, "PORT": str(free_port())}
        return Web(given, folder / f"web-{given['PORT']}.log")

    return make


@pytest.fixture(scope="module")
def web(make_web: Callable[[], Web]) -> Iterator[Web]:
    with make_web() as web:
        assert web.send(f"PUT /v1/accounts/acme HTTP/1.1\r\n{KEY}Content-Length: 0\r\n").status == 201
        yield web


@pytest.fixture(autouse=True)
def no_traceback(web: Web) -> Iterator[None]:
    before = len(web.log())
    yield
    assert "Traceback" not in web.log()[before:]


def members(web: Web) -> str:
    return web.send(f"GET /v1/accounts/acme/members HTTP/1.1\r\n{KEY}").text


CLAIM = b'{"member_id": "ada", "role": "member"}'
MALFORMED = {
    "no size": b"zz\r\n{}\r\n0\r\n\r\n",
    "an empty size": b"\r\n{}\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a signed size": b"+5\r\nhello\r\n0\r\n\r\n",
    "a size with underscores": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "a chunk longer than its size": b"2\r\n{}}}\r\n0\r\n\r\n",
    "a chunk that breaks off": b"ff\r\n{",
    "no last chunk": b"2\r\n{}\r\n",
    "a size without an end": b"2" * 8_191,
    "a trailer without a colon": b"2\r\n{}\r\n0\r\nnonsense\r\n\r\n",
    "trailers that break off": b"2\r\n{}\r\n0\r\nx: y\r\n",
    "a whole claim, then no last chunk": b"%x\r\n%s\r\n" % (len(CLAIM), CLAIM),
    "a whole claim, then nonsense": b"%x\r\n%s\r\nzz\r\n\r\n" % (len(CLAIM), CLAIM),
}
WRITING = {
    "a claim": f"POST /v1/accounts/acme/claims HTTP/1.1\r\n{KEY}{JSON}",
    "an account": f"PUT /v1/accounts/broken HTTP/1.1\r\n{KEY}",
    "a release": f"DELETE /v1/accounts/acme/members/bob HTTP/1.1\r\n{KEY}",
    "a keyed sync": f"POST /v1/accounts/acme/sync HTTP/1.1\r\n{KEY}Idempotency-Key: k\r\n",
    "a delivery": "POST /webhooks/dodo HTTP/1.1\r\n",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("head", WRITING.values(), ids=WRITING)
def test_a_malformed_chunked_body_is_400_and_nothing_is_done(web: Web, head: str, body: bytes):
    assert web.send(head + CHUNKED, body).status == 400
    assert '"members":[]' in members(web)


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize(
    "head",
    ["POST /v1/accounts/acme/claims HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\n", "POST /nothing HTTP/1.1\r\n"],
    ids=["without a key", "where no body belongs", "where nothing is"],
)
def test_a_malformed_body_of_a_call_without_body_does_no_harm(web: Web, head: str, body: bytes):
    assert web.send(head + CHUNKED, body).status in {200, 400, 401, 404, CLOSED}


@pytest.mark.parametrize("sent", [0, 1, len(CLAIM)])
@pytest.mark.parametrize("head", WRITING.values(), ids=WRITING)
def test_a_body_shorter_than_announced_is_400_and_nothing_is_done(web: Web, head: str, sent: int):
    answer = web.send(f"{head}Content-Length: {len(CLAIM) + 10}\r\n", CLAIM[:sent])
    assert answer.status == 400
    assert '"members":[]' in members(web)
    unknown = web.send(f"GET /v1/accounts/broken/seats HTTP/1.1\r\n{KEY}")
    assert unknown.status == 404


@pytest.mark.parametrize("length", ["-1", "+5", "5, 5", "1_0", "zz", "9" * 30, "5\r\nContent-Length: 6"])
def test_a_length_that_is_none_is_refused(web: Web, length: str):
    answer = web.send(f"{WRITING['a claim']}Content-Length: {length}\r\n", CLAIM)
    assert answer.status in {400, 413}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"GET /healthz HTTP/1.1\r\nX-Long: {'x' * 10_000}\r\n", 431),
        ("GET /healthz HTTP/1.1\r\n" + "".join(f"X-{n}: 1\r\n" for n in range(300)), 431),
        (f"GET /healthz HTTP/1.1\r\nX-Long: {'x' * 2_000_000}\r\n", 431),
        (f"GET /{'x' * 10_000} HTTP/1.1\r\n", 414),
        (f"GET /healthz?{'x' * 2_000_000} HTTP/1.1\r\n", 414),
    ],
    ids=["a long header", "many headers", "a header of megabytes", "a long path", "a query of megabytes"],
)
def test_oversized_headers_are_refused_as_such(web: Web, head: str, status: int):
    assert web.send(head).status in {status, CLOSED}
    assert web.send("GET /healthz HTTP/1.1\r\n").status == 200


NO_REQUESTS = {
    "a path that is too long": (f"GET /{'x' * 4_100} HTTP/1.1\r\n", 414, "uri_too_long"),
    "a header that is too long": (
        f"GET /healthz HTTP/1.1\r\nX: {'x' * 8_200}\r\n",
        431,
        "request_header_fields_too_large",
    ),
    "a path in bytes": ("GET /v1/accounts/\xff/seats HTTP/1.1\r\n", 400, "bad_request"),
    "a path with a blank": ("GET /v1/accounts/a b/seats HTTP/1.1\r\n", 400, "bad_request"),
    "a path without a slash": ("GET v1 HTTP/1.1\r\n", 400, "bad_request"),
    "a method in small letters": ("get /healthz HTTP/1.1\r\n", 400, "bad_request"),
    "another version": ("GET /healthz HTTP/9.9\r\n", 400, "bad_request"),
    "no request line": ("", 400, "bad_request"),
    "a NUL in a header": (f"GET /v1/accounts HTTP/1.1\r\n{KEY[:-2]}\0\r\n", 400, "bad_request"),
    "a header without a colon": ("GET /healthz HTTP/1.1\r\nnonsense\r\n", 400, "bad_request"),
    "a header on two lines": ("GET /healthz HTTP/1.1\r\nX: a\r\n b\r\n", 400, "bad_request"),
    "a header name with a sign": ("GET /healthz HTTP/1.1\r\nb@d: 1\r\n", 400, "bad_request"),
    "two types of content": (
        f"POST /v1/accounts/acme/claims HTTP/1.1\r\n{KEY}{JSON}{JSON}",
        400,
        "bad_request",
    ),
    "another coding": (
        f"POST /v1/accounts/acme/claims HTTP/1.1\r\n{KEY}Transfer-Encoding: gzip\r\n",
        400,
        "bad_request",
    ),
    "two lengths": (
        f"POST /v1/accounts/acme/claims HTTP/1.1\r\n{KEY}{CHUNKED}Content-Length: 5\r\n",
        400,
        "bad_request",
    ),
    "another expectation": ("GET /healthz HTTP/1.1\r\nExpect: tea\r\n", 417, "expectation_failed"),
}


@pytest.mark.parametrize(("head", "status", "code"), NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_what_the_server_itself_refuses_gets_a_problem_document(web: Web, head: str, status: int, code: str):
    answer = web.send(head)
    assert (answer.status, answer.problem["code"], answer.problem["status"]) == (status, code, status)
    assert "Content-Type: application/problem+json" in answer.text
    assert "<html" not in answer.text


def test_many_of_them_are_one_line_of_the_log(make_web: Callable[[], Web]):
    with make_web() as web:
        for number in range(40):
            web.send(f"GET /\xff{number} HTTP/1.1\r\n")
        lines = [line for line in web.log().splitlines() if "refused" in line or "Invalid" in line]
    assert 1 <= len(lines) <= 2  # one for each of two processes


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script-Name", "PATH_INFO", "Path-Info", "REMOTE_USER"])
@pytest.mark.parametrize("value", ["/healthz", "/v1", "nonsense", "/", ""])
def test_no_header_moves_a_path(web: Web, name: str, value: str):
    assert web.send(f"GET /healthz HTTP/1.1\r\n{name}: {value}\r\n").status == 200
    assert web.send(f"GET /v1/accounts/acme/seats HTTP/1.1\r\n{KEY}{name}: {value}\r\n").status == 200


# The end.


def test_a_stop_waits_for_requests_that_have_begun_and_for_no_idle_connection(make_web: Callable[[], Web]):
    head = f"PUT /v1/accounts/late HTTP/1.1\r\nHost: seatsync\r\n{KEY}{JSON}Content-Length: 2\r\n\r\n"
    with make_web() as web:
        idle = web.connect(b"GET /healthz HTTP/1.1\r\nHost: seatsync\r\n\r\n")
        assert idle.recv(65_536).startswith(b"HTTP/1.1 200")
        begun = web.connect(head.encode() + b"{")
        time.sleep(0.5)  # the headers are read by then
        rest = threading.Timer(1.0, begun.sendall, [b"}"])
        rest.start()
        assert web.stop() < GRACEFUL_TIMEOUT
        assert _read(begun).status == 201
        assert "graceful timeout" not in web.log()
        idle.close()
        begun.close()
