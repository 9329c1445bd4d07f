"""A loopback HTTP server with prepared responses, down to single bytes."""

import contextlib
import socket
import threading
from collections.abc import Callable

import orjson

Reply = bytes | Callable[[socket.socket], None]


def reply(status: int = 200, body: object = b"", **headers: str) -> bytes:
    """A response in one buffer. Sending header and body separately would cost 40 ms of delayed
    acknowledgement.
    """
    payload = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(payload)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + payload


class Stub:
    """Sends its replies one after another, then repeats the last one. A reply that is a function gets the
    socket, which is closed when it returns.
    """

    def __init__(self) -> None:
        self.replies: list[Reply] = [reply(500)]
        self.requests: list[str] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def paths(self) -> list[str]:
        return [request.split(" ")[1] for request in self.requests]

    def close(self) -> None:
        """Stop the thread first: it could accept connections for the next stub, whose socket may get the
        same number.
        """
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(timeout=1)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            try:
                while self._serve_one(connection):
                    pass
            except OSError:
                return

    def _serve_one(self, connection: socket.socket) -> bool:
        head = b""
        while b"\r\n\r\n" not in head:
            received = connection.recv(65536)
            if not received:
                return False
            head += received
        self.requests.append(head.decode())
        answer = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if not isinstance(answer, bytes):
            answer(connection)
            return False
        connection.sendall(answer)
        return True


def closed_port() -> int:
    """A port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
