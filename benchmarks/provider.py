"""A minimal provider in a separate process. It knows every subscription and answers at once or after a delay.

`GET /subscriptions/ID` retrieves. `PUT /seats/N` gives every subscription N seats, `PUT /seats/N/ID` only
that one. `PUT /delay/MS` sets the response time.
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
    seats_by_id: dict[str, int] = field(default_factory=dict)

    def retrieve(self, subscription_id: str) -> bytes:
        return orjson.dumps(subscription(subscription_id, self.seats_by_id.get(subscription_id, self.seats)))

    def put(self, setting: str, value: int, subscription_id: str | None) -> None:
        if setting == "delay":
            self.delay = value / 1000
        elif subscription_id is not None:
            self.seats_by_id[subscription_id] = value
        else:
            self.seats = value


class HttpConnection(asyncio.Protocol):
    """One connection. A client sends its next request only after the last response."""

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
            self._respond(method, path.split("/")[1:])

    def _respond(self, method: str, path: list[str]) -> None:
        if method == "PUT":
            self._business.put(path[0], int(path[1]), path[2] if path[2:] else None)
            self._send(b"{}")
        elif self._business.delay:
            body = self._business.retrieve(path[1])
            asyncio.get_running_loop().call_later(self._business.delay, self._send, body)
        else:
            self._send(self._business.retrieve(path[1]))

    def _send(self, body: bytes) -> None:
        """Send headers and body in one write; two writes would cost the client a delayed acknowledgement."""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self._transport.write(head.encode() + _END + body)


async def serve(port: int) -> None:
    business = Business()
    server = await asyncio.get_running_loop().create_server(
        lambda: HttpConnection(business), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
