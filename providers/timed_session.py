"""A `requests` session with a time limit for each whole response, and no state kept between requests."""

from __future__ import annotations

import io
import socket
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import ProxyManager

_CONNECTIONS = 16  # kept open; more are opened when needed


def new_session(adapter: type[HTTPAdapter] | None = None, *, proxy: str | None = None) -> requests.Session:
    """A session without retries, redirects and cookies that ignores the environment. Threads may share it.

    `proxy` is the URL of an HTTP proxy for all requests.
    """
    session = _Session()
    # No proxies and no ~/.netrc from the environment: only `runtime.settings` reads it.
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    if proxy is not None:
        session.proxies = {"http": proxy, "https": proxy}
    kind = adapter or TimedAdapter
    for scheme in ("http://", "https://"):
        session.mount(scheme, kind(pool_connections=1, pool_maxsize=_CONNECTIONS))
    return session


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None, so that a redirect is a response like any other. With `allow_redirects=False` alone,
        `requests` would still read the redirect's whole body, without a limit.
        """


class _TimedReader(io.RawIOBase):
    """Reads from a socket up to a deadline. The socket's own time-out would start again with every read."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._socket = sock
        self._file = sock.makefile("rb", buffering=0)
        self._until = monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - monotonic()
        self._socket.settimeout(max(left, 0.001))  # zero would mean non-blocking
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _TimedResponse(HTTPResponse):
    """A response whose read time-out covers all of it: status line, headers and body."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        seconds = sock.gettimeout()
        if seconds is not None:
            self.fp.close()
            self.fp = io.BufferedReader(_TimedReader(sock, seconds))


class TimedConnection(HTTPConnection):
    response_class = _TimedResponse


class TimedTlsConnection(HTTPSConnection):
    response_class = _TimedResponse


class _TimedPool(HTTPConnectionPool):
    ConnectionCls = TimedConnection


class _TimedTlsPool(HTTPSConnectionPool):
    ConnectionCls = TimedTlsConnection


_TIMED_POOLS: Final[dict[str, type[HTTPConnectionPool]]] = {"http": _TimedPool, "https": _TimedTlsPool}


class TimedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _TIMED_POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        """The same connections, through a proxy."""
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _TIMED_POOLS
        return manager
