"""Seat cache: seats documents in Redis, each with the version of its account. It may be wiped at any time.

After a commit, `invalidate` replaces the document by the new version; the next reader stores the document
again with `fill`. An older version never overwrites a newer one. Entries expire after a few seconds, in case
a process dies between commit and `invalidate`. If Redis fails, callers fall back to the database. The cache
never decides a claim. Price lists of products are cached beside the documents, for a day.
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
_PRICE_LIST_TTL_MS = 24 * 60 * 60 * 1_000

# KEYS[1]: the entry. ARGV: version, document ("" if only the version is known), time to live in milliseconds.
_PUT = """
local stored = redis.call('GETRANGE', KEYS[1], 0, 19)
local older = stored ~= '' and tonumber(stored) > tonumber(ARGV[1])
if older then return 0 end
redis.call('SET', KEYS[1], string.format('%020d', ARGV[1]) .. ARGV[2], 'PX', ARGV[3])
return 1
"""
_VERSION_DIGITS = 20
_PAUSE_SECONDS = 1.0  # without Redis, after it failed to answer


@dataclass(frozen=True, slots=True)
class CachedDocument:
    """A seats document as JSON, and the version of the account that it shows."""

    version: int
    document: bytes


class SeatCache:
    """Seats documents by account.

    `prefix` returns the prefix of all keys. It contains the id of the database, so that entries of another
    database are never read, see `models.installation`.
    """

    def __init__(self, client: redis.Redis, prefix: Callable[[], str] = lambda: "seatsync:") -> None:
        self._client = client
        self._prefix = prefix
        self._put = client.register_script(_PUT)
        self._paused_until = 0.0

    def get(self, account_id: str) -> CachedDocument | None:
        """The cached document; None if there is none or Redis does not answer."""
        entry = self._run(lambda: self._client.get(self._key("seats", account_id)))
        if entry is None or len(entry) <= _VERSION_DIGITS or not entry[:_VERSION_DIGITS].isdigit():
            return None  # no entry, a version without a document, or not ours
        return CachedDocument(int(entry[:_VERSION_DIGITS]), entry[_VERSION_DIGITS:])

    def account_of(self, subscription_id: str) -> str | None:
        """The cached account of the subscription, a few seconds old at most; None if there is none."""
        entry = self._run(lambda: self._client.get(self._key("account-of", subscription_id)))
        try:
            return None if entry is None else entry.decode()
        except UnicodeDecodeError:
            return None  # not ours

    def note_account(self, subscription_id: str, account_id: str) -> None:
        """Cache the account of the subscription."""
        self._run(lambda: self._client.set(self._key("account-of", subscription_id), account_id, px=_TTL_MS))

    def forget_account_of(self, subscription_id: str) -> None:
        """Drop the cached account, because the subscription may have moved."""
        self._run(lambda: self._client.delete(self._key("account-of", subscription_id)))

    def price_list_of(self, product_id: str) -> bytes | None:
        """The cached price list of the product, as it was kept; None if there is none."""
        return self._run(lambda: self._client.get(self._key("prices", product_id)))

    def keep_price_list(self, product_id: str, price_list: bytes) -> None:
        """Cache the price list of the product. It states itself how old it is."""
        self._run(
            lambda: self._client.set(self._key("prices", product_id), price_list, px=_PRICE_LIST_TTL_MS)
        )

    def fill(self, account_id: str, version: int, document: bytes) -> None:
        """Cache a document read from the database, unless the cache knows a newer version."""
        self._write(account_id, version, document)

    def invalidate(self, versions: Mapping[str, int]) -> None:
        """Replace documents that are older than these versions, by account id; called after a commit."""
        for account_id, version in versions.items():
            self._write(account_id, version, b"")

    def _write(self, account_id: str, version: int, document: bytes) -> None:
        ttl = _TTL_MS + random.randrange(_TTL_JITTER_MS)  # noqa: S311  jitter is no secret
        args: list[int | bytes] = [version, document, ttl]
        self._run(lambda: self._put(keys=[self._key("seats", account_id)], args=args))

    def _run(self, command: Callable[[], object]) -> bytes | None:
        """The response of Redis; None if it fails, and for a second after that without trying."""
        if time.monotonic() < self._paused_until:
            return None
        try:
            return cast("bytes | None", command())
        except (redis.RedisError, NamespaceUnknown) as error:
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            log.warning("seat cache unreachable", extra={"error": type(error).__name__})
            return None

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix()}{kind}:{name}"
