"""A running simulator: its HTTP server and its webhook deliveries."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from simulator.app import create_app
from simulator.http.server_socket import HttpServer
from simulator.world import Settings, World


class Simulator:
    """Runs in threads of this process. `with Simulator(settings) as simulator:` stops them at the end."""

    def __init__(self, settings: Settings, *, port: int = 0) -> None:
        self.world = World(settings)
        self._stopping = threading.Event()
        self._server = HttpServer(port, create_app(self.world, self._stopping).wsgi_app)

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def control_url(self) -> str:
        return f"{self.url}/_control"

    def start(self) -> None:
        self.world.dispatcher.start()
        self._server.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.stop()
        self.world.dispatcher.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()
