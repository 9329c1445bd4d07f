"""Standard Webhooks: is this delivery authentic and fresh?

The MAC is one call of the standard library. The reference library, `standardwebhooks` 1.1.0, makes the
same call, but around it raises ValueError, binascii.Error, UnicodeDecodeError and RecursionError on
crafted input, takes timestamps such as `1_23`, and wants the body as text. So the shapes are checked here
first, the MAC is taken over the raw bytes, and the tests hold this module to the library's answers.
"""

from __future__ import annotations

import hmac
import logging
import re
from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.errors import InvalidSignature, SettingsError
from providers.base import Delivery

log = logging.getLogger(__name__)

_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_HEADERS = frozenset({_ID, _TIMESTAMP, _SIGNATURE})

# Ids are opaque, so any visible ASCII will do, but two characters. A full stop would let one MAC stand for
# two readings of id, time and body (Standard Webhooks specification, signature scheme); a comma is how a
# WSGI server joins a header that came twice.
_ID_SHAPE = re.compile(r"[!-+\-/-~]{1,128}")
_TIMESTAMP_SHAPE = re.compile(r"[0-9]{1,11}")
_VERSION = "v1,"
_MOST_SIGNATURES = 16
_LONGEST_SIGNATURE = 128

_SECRET_PREFIX = "whsec_"  # noqa: S105 - the public mark of a secret, not one
_SHORTEST_KEY, _LONGEST_KEY = 24, 64  # bytes; Standard Webhooks specification, signature scheme

DEFAULT_TOLERANCE = timedelta(minutes=5)


def parse_secret(text: str) -> bytes:
    """The key in `whsec_` + base64, or in the base64 alone; raises `SettingsError`, which never shows it."""
    encoded = text.removeprefix(_SECRET_PREFIX)
    try:
        key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        raise SettingsError("A webhook secret is not `whsec_` followed by base64.") from None
    if not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        raise SettingsError(
            f"A webhook secret holds {len(key)} bytes; Standard Webhooks asks for "
            f"{_SHORTEST_KEY} to {_LONGEST_KEY}."
        )
    return key


class Verifier:
    """Checks deliveries against one secret or, while secrets rotate, several: the newest first."""

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        max_age: timedelta = DEFAULT_TOLERANCE,
        max_lead: timedelta = DEFAULT_TOLERANCE,
    ) -> None:
        if not secrets:
            raise SettingsError("At least one webhook secret is needed.")
        self._keys = tuple(parse_secret(secret) for secret in secrets)
        self._max_age = max_age.total_seconds()
        self._max_lead = max_lead.total_seconds()
        self._seen_old: set[int] = set()

    def verify(self, headers: Sequence[tuple[str, str]], body: bytes, now: datetime) -> Delivery:
        """The delivery, if one secret vouches for it and it is fresh; raises `InvalidSignature` alone."""
        event_id, timestamp, signatures = _signed_headers(headers)
        self._check_freshness(int(timestamp), now)
        content = b"%b.%b.%b" % (event_id.encode(), timestamp.encode(), body)
        position = self._matching_secret(content, _candidates(signatures))
        if position is None:
            raise InvalidSignature("no signature matches")
        if position > 0:
            self._warn_of_old_secret(position)
        return Delivery(event_id, body)

    def _check_freshness(self, timestamp: int, now: datetime) -> None:
        age = now.timestamp() - timestamp
        if age > self._max_age:
            raise InvalidSignature("too old")
        if age < -self._max_lead:
            raise InvalidSignature("from the future")

    def _matching_secret(self, content: bytes, candidates: Sequence[bytes]) -> int | None:
        """The newest secret that signed; every pair is compared, so that the time taken tells nothing."""
        macs = [hmac.digest(key, content, "sha256") for key in self._keys]
        matches = [sum(hmac.compare_digest(mac, given) for given in candidates) > 0 for mac in macs]
        return matches.index(True) if any(matches) else None

    def _warn_of_old_secret(self, position: int) -> None:
        """Once per process: enough to be noticed, too little to be a flood."""
        if position not in self._seen_old:
            self._seen_old.add(position)
            log.warning(
                "Deliveries are signed with an old webhook secret", extra={"secret_position": position}
            )


def _signed_headers(headers: Sequence[tuple[str, str]]) -> tuple[str, str, str]:
    """Id, timestamp and signatures: exactly one of each, the first two well-formed."""
    found: dict[str, str] = {}
    for name, value in headers:
        lowered = name.lower()
        if lowered in _HEADERS:
            if lowered in found:
                raise InvalidSignature("repeated header")
            found[lowered] = value
    if len(found) < len(_HEADERS):
        raise InvalidSignature("missing header")
    if not _ID_SHAPE.fullmatch(found[_ID]):
        raise InvalidSignature("malformed id")
    if not _TIMESTAMP_SHAPE.fullmatch(found[_TIMESTAMP]):
        raise InvalidSignature("malformed timestamp")
    return found[_ID], found[_TIMESTAMP], found[_SIGNATURE]


def _candidates(header: str) -> list[bytes]:
    """The `v1` signatures of the header; other versions and malformed ones are skipped, not refused."""
    candidates = []
    for token in header.split(" ", _MOST_SIGNATURES)[:_MOST_SIGNATURES]:
        if token.startswith(_VERSION) and len(token) <= _LONGEST_SIGNATURE:
            try:
                candidates.append(b64decode(token.removeprefix(_VERSION), validate=True))
            except ValueError:
                continue
    return candidates
