"""Check the URLs of notice endpoints: only public addresses may be called, none in our own network.

The host name is resolved once per connection, every address of it is checked, and the connection goes to one
of these addresses. So a name cannot pass the check with one address and be called at another.
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

# The part of IPv6 that is assigned for use on the internet.
_ASSIGNED: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")

_Address = tuple[socket.AddressFamily, tuple[Any, ...]]


def new_session(*, allow_private: bool) -> requests.Session:
    """A session with time limits. Unless `allow_private`, its requests raise `UnsafeUrl` for addresses that
    are not public.
    """
    return new_timed_session(None if allow_private else _PublicAdapter)


def check(url: str, *, allow_private: bool) -> None:
    """Raise `UnsafeUrl` if the URL is malformed, does not resolve, or resolves to an address that is not
    public. With `allow_private` only its form is checked.
    """
    parts = check_form(url, allow_private=allow_private)
    if not allow_private:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            _public_addresses(parts.hostname or "", port)
        except OSError:
            raise UnsafeUrl("The URL's host name does not resolve to an address.") from None


def is_public(text: str) -> bool:
    """True if the IP address is a unicast address on the internet. IPv6 addresses that stand for an IPv4
    address are judged by that one.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is None:
            return address in _ASSIGNED and address.is_global
        address = inner
    return address.is_global and not address.is_multicast


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a mapped, translated or tunnelled IPv6 address stands for; None for others."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def check_form(url: str, *, allow_private: bool) -> SplitResult:
    """The parts of the URL. Raises `UnsafeUrl` if its form is not accepted; does not resolve its name."""
    schemes = ("https", "http") if allow_private else ("https",)
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise UnsafeUrl("The URL cannot be parsed.") from None
    if not has_host or len(url) > LONGEST_URL or not _is_unambiguous(url):
        raise UnsafeUrl(f"The URL must be https://HOST[:PORT][/PATH] in at most {LONGEST_URL} characters.")
    if parts.scheme not in schemes:
        hint = "" if allow_private else f" {_ALLOWING}"
        raise UnsafeUrl(f"The URL must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}.{hint}")
    if "@" in parts.netloc or "#" in url:
        raise UnsafeUrl("The URL must contain neither a user name nor a fragment.")
    return parts


def _is_unambiguous(url: str) -> bool:
    """True if every URL parser reads the URL the same way."""
    return url.isascii() and url.isprintable() and " " not in url and "\\" not in url


def _public_addresses(host: str, port: int) -> Sequence[_Address]:
    """The addresses of the host. Raises `UnsafeUrl` if one of them is not public, `OSError` if there are
    none.
    """
    addresses = _resolve(host, port)
    if not all(is_public(str(address[0])) for _, address in addresses):
        raise UnsafeUrl(f"The URL leads to an address that is not public. {_ALLOWING}")
    return addresses


def _resolve(host: str, port: int) -> Sequence[_Address]:
    """Resolve in a thread, because `getaddrinfo` has no timeout."""
    addresses: list[_Address] = []

    def resolve() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                addresses.append((family, address))

    thread = threading.Thread(target=resolve, name="lookup", daemon=True)
    thread.start()
    thread.join(_LOOKUP_SECONDS)
    if thread.is_alive() or not addresses or len(addresses) > _MOST_ADDRESSES:
        raise OSError("the name does not resolve")
    return addresses


class _PublicConnection(TimedConnection):
    """Resolves its host name, and connects only if all addresses are public."""

    def _new_conn(self) -> socket.socket:
        host = self._dns_host.strip("[]")
        try:
            return _connect(_public_addresses(host, self.port or self.default_port), self.timeout)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "the connection timed out") from error
        except OSError as error:
            raise NewConnectionError(self, "no connection") from error


def _connect(addresses: Sequence[_Address], seconds: float | None) -> socket.socket:
    """Connect to the first address that accepts, within `seconds` for all of them together."""
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


class _PublicTlsConnection(_PublicConnection, TimedTlsConnection):
    pass


class _PublicPool(HTTPConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicTlsPool(HTTPSConnectionPool):
    ConnectionCls = _PublicTlsConnection


class _PublicAdapter(TimedAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PublicPool, "https": _PublicTlsPool}
