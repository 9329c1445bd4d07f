"""A receiver of webhooks, which records deliveries and responds with given statuses."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from standardwebhooks import Webhook

from simulator.http.server_socket import HttpServer
from tests.waiting import PATIENCE_SECONDS

SECRET = "whsec_c2ltdWxhdG9yLXRlc3Qtc2VjcmV0LTMyLWJ5dGVz"
KEY = "test-key"


@dataclass(frozen=True)
class Delivery:
    headers: dict[str, str]
    body: bytes
    arrived: float

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.json["data"]

    @property
    def type(self) -> str:
        return self.json["type"]

    def verify(self, secret: str = SECRET) -> None:
        Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """`answers` are the statuses for the next deliveries. All later ones are accepted."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.answers: list[int] = []
        self.on_delivery: Callable[[Delivery], object] = lambda _delivery: None
        self._changed = threading.Condition()
        self._server = HttpServer(0, self._receive)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}/webhooks"

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def forget(self) -> None:
        with self._changed:
            self.deliveries = []
            self.answers = []
            self.on_delivery = lambda _delivery: None

    def wait_for(self, count: int, seconds: float = PATIENCE_SECONDS) -> list[Delivery]:
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.deliveries) >= count, seconds)
            assert arrived, f"{len(self.deliveries)} of {count} deliveries came"
            return list(self.deliveries)

    def wait_for_type(self, event_type: str, seconds: float = PATIENCE_SECONDS) -> Delivery:
        """Wait for the first delivery of an event of this type. Other deliveries are ignored."""

        def first() -> Delivery | None:
            return next((each for each in self.deliveries if each.type == event_type), None)

        with self._changed:
            found = self._changed.wait_for(first, seconds)
            assert found, f"no {event_type} among {[each.type for each in self.deliveries]}"
            return found

    def _receive(self, environ: Any, start: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        headers = {name: environ[f"HTTP_{name.upper().replace('-', '_')}"] for name in names}
        delivery = Delivery({**headers, "content-type": environ["CONTENT_TYPE"]}, body, time.monotonic())
        self.on_delivery(delivery)
        with self._changed:
            self.deliveries.append(delivery)
            status = self.answers.pop(0) if self.answers else 200
            self._changed.notify_all()
        start(f"{status} Told", [("Content-Length", "0")])
        return []
