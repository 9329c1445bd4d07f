"""A small HTTP/1.1 server for a WSGI application, with threads and keep-alive.

The headers and the first chunk of the body are sent in a single write. With two writes, the second would
wait for the acknowledgement of the first, and each GET on a kept-alive connection would take 40 ms.
"""

from __future__ import annotations

import contextlib
import io
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication, WSGIEnvironment

LONGEST_LINE = 65536
LARGEST_BODY = 64 * 1024 * 1024


class CutConnection(Exception):
    """Raised while a response is sent, to close the connection in the middle of it."""


class BadRequest(Exception):
    """The request is malformed or uses a feature that this server does not support."""


class HttpServer(socketserver.ThreadingTCPServer):
    """Serves an application on the loopback interface. `stop` ends all connections and threads."""

    allow_reuse_address = True
    request_queue_size = 512

    def __init__(self, port: int, application: WSGIApplication) -> None:
        self.application = application
        self._open_connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._acceptor = threading.Thread(target=self.serve_forever, args=(0.05,), name="http", daemon=True)
        super().__init__(("127.0.0.1", port), Connection)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def start(self) -> None:
        self._acceptor.start()

    def stop(self) -> None:
        self.shutdown()
        self._acceptor.join()
        with self._lock:
            for connection in self._open_connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Register the connection before its thread starts, so that `stop` closes it too."""
        with self._lock:
            self._open_connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open_connections.discard(request)
        super().shutdown_request(request)


class Connection(socketserver.StreamRequestHandler):
    """A client's connection, which serves one request after another."""

    server: HttpServer
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with contextlib.suppress(CutConnection, ConnectionError):
            while self._serve_one():
                pass

    def _serve_one(self) -> bool:
        """Serve one request. Returns whether the connection stays open."""
        try:
            environ = self._read_request()
        except (BadRequest, ValueError):
            self.connection.sendall(
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            return False
        if environ is None:
            return False
        stays = _stays_open(environ)
        Answer(self.connection, environ, stays=stays).send(self.server.application)
        return stays

    def _read_request(self) -> WSGIEnvironment | None:
        first = self._read_line()
        if not first:
            return None
        method, target, protocol = first.decode("latin-1").split()
        path, _, query = target.partition("?")
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self.server.port),
            "SERVER_PROTOCOL": protocol,
            "REMOTE_ADDR": self.client_address[0],
            "REMOTE_PORT": str(self.client_address[1]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        while line := self._read_line():
            name, _, value = line.decode("latin-1").partition(":")
            environ[f"HTTP_{name.strip().upper().replace('-', '_')}"] = value.strip()
        environ["wsgi.input"] = io.BytesIO(self._read_body(environ))
        return environ

    def _read_body(self, environ: WSGIEnvironment) -> bytes:
        if "HTTP_TRANSFER_ENCODING" in environ:
            raise BadRequest("chunked requests are not supported")
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
        environ["CONTENT_LENGTH"] = environ.pop("HTTP_CONTENT_LENGTH", "0")
        length = int(environ["CONTENT_LENGTH"])
        if not 0 <= length <= LARGEST_BODY:
            raise BadRequest("the body is too large")
        return self.rfile.read(length)

    def _read_line(self) -> bytes:
        line = self.rfile.readline(LONGEST_LINE)
        if len(line) == LONGEST_LINE:
            raise BadRequest("a line is too long")
        return line.rstrip(b"\r\n")


def _stays_open(environ: WSGIEnvironment) -> bool:
    requested = str(environ.get("HTTP_CONNECTION", "")).lower()
    return requested != "close" if environ["SERVER_PROTOCOL"] == "HTTP/1.1" else requested == "keep-alive"


class Answer:
    """Sends one response of the application."""

    def __init__(self, connection: socket.socket, environ: WSGIEnvironment, *, stays: bool) -> None:
        self._connection = connection
        self._environ = environ
        self._stays = stays
        self._head = b""

    def send(self, application: WSGIApplication) -> None:
        chunks: Iterable[bytes] = application(self._environ, self._start)
        try:
            for chunk in chunks:
                self._connection.sendall(self._head + chunk)
                self._head = b""
            if self._head:
                self._connection.sendall(self._head)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()

    def _start(
        self, status: str, headers: list[tuple[str, str]], _exc_info: Any = None
    ) -> Callable[[bytes], object]:
        lines = [f"HTTP/1.1 {status}", f"Date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines += ["Connection: keep-alive" if self._stays else "Connection: close", "", ""]
        self._head = "\r\n".join(lines).encode("latin-1")
        return self._connection.sendall
