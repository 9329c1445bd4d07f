"""Where we may send to: URLs that others gave us, and nothing of our own network behind them.

A name is looked up, every address it has is judged, and the connection goes to one of those very
addresses: a name that answers otherwise the second time is not asked a second time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import requests
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from domain.errors import UnsafeUrl
from providers.timed_session import TimedAdapter, TimedConnection, TimedTlsConnection
from providers.timed_session import new_session as new_timed_session

LONGEST_URL: Final = 2_000
_LOOKUP_SECONDS: Final = 3.0
_MOST_ADDRESSES: Final = 32
_ALLOWING: Final = (
    "SEATSYNC_NOTICES_ALLOW_PRIVATE=true in the service's environment allows private addresses and http://."
)

# All there is of IPv6 that is given out to anybody; tunnels and translators lead to an IPv4 address.
_GIVEN_OUT: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")

_Address = tuple[socket.AddressFamily, tuple[Any, ...]]


def new_session(*, allow_private: bool) -> requests.Session:
    """A session for such URLs, bounded in time, that follows nothing. Raises `UnsafeUrl` on its way out."""
    return new_timed_session(None if allow_private else _GuardedAdapter)


def check(url: str, *, allow_private: bool) -> None:
    """Raises `UnsafeUrl` unless we would send to this URL now: its form, and where its name leads."""
    parts = check_form(url, allow_private=allow_private)
    if not allow_private:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            _public_addresses(parts.hostname or "", port)
        except OSError:
            raise UnsafeUrl("The URL's host name leads to no address.") from None


def is_public(text: str) -> bool:
    """Whether an IP address is a single machine's on the internet, by whatever detour it is written."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is None:
            return address in _GIVEN_OUT and address.is_global
        address = inner
    return address.is_global and not address.is_multicast


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def check_form(url: str, *, allow_private: bool) -> SplitResult:
    """The URL's parts; `UnsafeUrl` for what we would not even look up."""
    schemes = ("https", "http") if allow_private else ("https",)
    try:
        parts = urlsplit(url)
        is_plain = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise UnsafeUrl("The URL cannot be read.") from None
    if not is_plain or len(url) > LONGEST_URL or not _is_visible(url):
        raise UnsafeUrl(f"The URL must be https://HOST[:PORT][/PATH] in at most {LONGEST_URL} characters.")
    if parts.scheme not in schemes:
        hint = "" if allow_private else f" {_ALLOWING}"
        raise UnsafeUrl(f"The URL must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}.{hint}")
    if "@" in parts.netloc or "#" in url:
        raise UnsafeUrl("The URL must hold neither a user nor a fragment.")
    return parts


def _is_visible(url: str) -> bool:
    """Whether the URL is made of signs that all readers of URLs read alike."""
    return url.isascii() and url.isprintable() and " " not in url and "\\" not in url


def _public_addresses(host: str, port: int) -> Sequence[_Address]:
    """Where the name leads; `UnsafeUrl` if any of it is not public, `OSError` if it leads nowhere."""
    found = _looked_up(host, port)
    if not all(is_public(str(address[0])) for _, address in found):
        raise UnsafeUrl(f"The URL leads to an address that is not public. {_ALLOWING}")
    return found


def _looked_up(host: str, port: int) -> Sequence[_Address]:
    """The system's answer, waited for a bounded time: a name server may be as slow as it pleases."""
    found: list[_Address] = []

    def look_up() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                found.append((family, address))

    thread = threading.Thread(target=look_up, name="lookup", daemon=True)
    thread.start()
    thread.join(_LOOKUP_SECONDS)
    if thread.is_alive() or not found or len(found) > _MOST_ADDRESSES:
        raise OSError("the name leads to no address")
    return found


class _Guarded(TimedConnection):
    """Connects to a public address that its host name was looked up to just now."""

    def _new_conn(self) -> socket.socket:
        host = self._dns_host.strip("[]")
        try:
            return _connected(_public_addresses(host, self.port or self.default_port), self.timeout)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "the connection timed out") from error
        except OSError as error:
            raise NewConnectionError(self, "no connection") from error


def _connected(addresses: Sequence[_Address], seconds: float | None) -> socket.socket:
    """A connection to the first address that takes one, within so many seconds in all."""
    until = monotonic() + (seconds or 0)
    failure: OSError = TimeoutError()
    for family, address in addresses:
        attempt = socket.socket(family, socket.SOCK_STREAM)
        try:
            attempt.settimeout(max(until - monotonic(), 0.001))
            attempt.connect(address)
        except OSError as error:
            attempt.close()
            failure = error
        else:
            attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            attempt.settimeout(seconds)
            return attempt
    raise failure


class _GuardedTls(_Guarded, TimedTlsConnection):
    pass


class _GuardedPool(HTTPConnectionPool):
    ConnectionCls = _Guarded


class _GuardedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedTls


class _GuardedAdapter(TimedAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _GuardedPool, "https": _GuardedTlsPool}
