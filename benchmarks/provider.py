"""A provider that knows every subscription and answers at once, or after a delay: a process of its own.

`GET /subscriptions/ID` retrieves. `PUT /seats/N` gives every subscription N seats, `PUT /seats/N/ID` one
of them, `PUT /delay/MS` says how long an answer takes from now on.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field

import orjson

from benchmarks.bodies import subscription

_END = b"\r\n\r\n"


@dataclass
class Business:
    delay: float = 0.0
    seats: int = 0
    of_one: dict[str, int] = field(default_factory=dict)

    def retrieve(self, subscription_id: str) -> bytes:
        return orjson.dumps(subscription(subscription_id, self.of_one.get(subscription_id, self.seats)))

    def put(self, what: str, value: int, subscription_id: str | None) -> None:
        if what == "delay":
            self.delay = value / 1000
        elif subscription_id is not None:
            self.of_one[subscription_id] = value
        else:
            self.seats = value


class Talk(asyncio.Protocol):
    """One connection; a client sends its next request only after the last answer."""

    def __init__(self, business: Business) -> None:
        self._business = business
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(_END):
            method, path, _ = self._received.decode().split(" ", 2)
            self._received = b""
            self._answer(method, path.split("/")[1:])

    def _answer(self, method: str, path: list[str]) -> None:
        if method == "PUT":
            self._business.put(path[0], int(path[1]), path[2] if path[2:] else None)
            self._send(b"{}")
        elif self._business.delay:
            answer = self._business.retrieve(path[1])
            asyncio.get_running_loop().call_later(self._business.delay, self._send, answer)
        else:
            self._send(self._business.retrieve(path[1]))

    def _send(self, body: bytes) -> None:
        """In one piece: head and body sent apart would cost the client a delayed acknowledgement."""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self._transport.write(head.encode() + _END + body)


async def serve(port: int) -> None:
    business = Business()
    server = await asyncio.get_running_loop().create_server(lambda: Talk(business), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
