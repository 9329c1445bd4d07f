"""The seat cache: a Redis shadow of committed rows, which may be wiped at any time.

It holds finished seats documents under the account's version. A writer marks what it committed
(`invalidate`), a reader that had to ask the database fills the gap (`fill`); an older version never
overwrites a newer one. Every entry dies after a few seconds, so that even a crash between commit and
mark is soon healed. No error of Redis is ever the caller's error, and no decision is taken here.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import redis

from domain.errors import NamespaceUnknown

log = logging.getLogger(__name__)

_TTL_MS = 8_000
_TTL_JITTER_MS = 4_000

# KEYS[1] entry; ARGV: version, document ("" marks a version whose document is not known yet), ttl.
_PUT = """
local kept = redis.call('GETRANGE', KEYS[1], 0, 19)
local older = kept ~= '' and tonumber(kept) > tonumber(ARGV[1])
if older then return 0 end
redis.call('SET', KEYS[1], string.format('%020d', ARGV[1]) .. ARGV[2], 'PX', ARGV[3])
return 1
"""
_VERSION_DIGITS = 20
_REST = 1.0  # seconds without Redis after it failed to answer


@dataclass(frozen=True, slots=True)
class CachedDocument:
    """A finished document and the account version it shows."""

    version: int
    document: bytes


class SeatCache:
    """Seats documents by account.

    `prefix` gives the beginning of every key. It names the database that the entries shadow, so those of
    another database are never read (see `models.installation`).
    """

    def __init__(self, client: redis.Redis, prefix: Callable[[], str] = lambda: "seatsync:") -> None:
        self._client = client
        self._prefix = prefix
        self._put = client.register_script(_PUT)
        self._rests_until = 0.0

    def get(self, account_id: str) -> CachedDocument | None:
        """The document, if one is there and Redis answers."""
        kept = self._ask(lambda: self._client.get(self._key("seats", account_id)))
        if kept is None or len(kept) <= _VERSION_DIGITS or not kept[:_VERSION_DIGITS].isdigit():
            return None  # nothing there, a version without its document, or not ours
        return CachedDocument(int(kept[:_VERSION_DIGITS]), kept[_VERSION_DIGITS:])

    def account_of(self, subscription_id: str) -> str | None:
        """The account that the subscription belonged to a moment ago, if that is known here."""
        kept = self._ask(lambda: self._client.get(self._key("account-of", subscription_id)))
        try:
            return None if kept is None else kept.decode()
        except UnicodeDecodeError:
            return None  # not ours

    def note_account(self, subscription_id: str, account_id: str) -> None:
        """Remember for a moment where the subscription belongs."""
        self._ask(lambda: self._client.set(self._key("account-of", subscription_id), account_id, px=_TTL_MS))

    def forget_account_of(self, subscription_id: str) -> None:
        """The subscription may have moved."""
        self._ask(lambda: self._client.delete(self._key("account-of", subscription_id)))

    def fill(self, account_id: str, version: int, document: bytes) -> None:
        """Keep a document read from the database, unless something newer was committed since."""
        self._write(account_id, version, document)

    def invalidate(self, versions: Mapping[str, int]) -> None:
        """After a commit: these accounts have these versions now; older documents are gone."""
        for account_id, version in versions.items():
            self._write(account_id, version, b"")

    def _write(self, account_id: str, version: int, document: bytes) -> None:
        ttl = _TTL_MS + random.randrange(_TTL_JITTER_MS)  # noqa: S311  jitter is no secret
        args: list[int | bytes] = [version, document, ttl]
        self._ask(lambda: self._put(keys=[self._key("seats", account_id)], args=args))

    def _ask(self, command: Callable[[], object]) -> bytes | None:
        """What Redis answers; nothing while it is away, and only one caller a moment waits to find out."""
        if time.monotonic() < self._rests_until:
            return None
        try:
            return cast("bytes | None", command())
        except (redis.RedisError, NamespaceUnknown) as error:
            self._rests_until = time.monotonic() + _REST
            log.warning("seat cache away", extra={"error": type(error).__name__})
            return None

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix()}{kind}:{name}"
