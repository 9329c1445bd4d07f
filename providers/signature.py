"""Verifies webhook signatures (Standard Webhooks): is a delivery authentic and recent?

The reference library, `standardwebhooks` 1.1.0, is not used: on crafted input it raises ValueError,
binascii.Error, UnicodeDecodeError and RecursionError, accepts timestamps such as `1_23`, and needs the body
as text. This module checks the format first and computes the MAC over the raw bytes; the tests compare its
results with the library's.
"""

from __future__ import annotations

import hmac
import logging
import re
from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.errors import SettingsError
from domain.provider_errors import InvalidSignature
from providers.base import Delivery

log = logging.getLogger(__name__)

_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_HEADERS = frozenset({_ID, _TIMESTAMP, _SIGNATURE})

# Visible ASCII except the full stop and the comma. The full stop separates id, time and body in the signed
# content, so an id with one would make a MAC valid for two readings (Standard Webhooks specification,
# signature scheme). The comma appears when a WSGI server joins a repeated header.
_ID_FORMAT = re.compile(r"[!-+\-/-~]{1,128}")
_TIMESTAMP_FORMAT = re.compile(r"[0-9]{1,11}")
_VERSION = "v1,"
_MOST_SIGNATURES = 16
_LONGEST_SIGNATURE = 128

_SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix of secrets, not a secret
_SHORTEST_KEY, _LONGEST_KEY = 24, 64  # bytes; Standard Webhooks specification, signature scheme

DEFAULT_TOLERANCE = timedelta(minutes=5)


def parse_secret(text: str) -> bytes:
    """The key from a secret: base64, with or without the prefix `whsec_`.

    Raises `SettingsError`, whose message never contains the secret.
    """
    encoded = text.removeprefix(_SECRET_PREFIX)
    try:
        key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        raise SettingsError("A webhook secret is not `whsec_` followed by base64.") from None
    if not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        raise SettingsError(
            f"A webhook secret has {len(key)} bytes; Standard Webhooks requires "
            f"{_SHORTEST_KEY} to {_LONGEST_KEY}."
        )
    return key


class Verifier:
    """Verifies deliveries with one secret, or with several while secrets are rotated, newest first.

    `max_age` and `max_lead` are how far a timestamp may lie in the past and in the future.
    """

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
        """The delivery, if one of the secrets signed it and it is recent. Raises only `InvalidSignature`."""
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
        """The position of the newest secret that signed the content; None if none did."""
        macs = [hmac.digest(key, content, "sha256") for key in self._keys]
        # sum() and not any(): all pairs are compared, so the time taken reveals nothing.
        matches = [sum(hmac.compare_digest(mac, given) for given in candidates) > 0 for mac in macs]
        return matches.index(True) if any(matches) else None

    def _warn_of_old_secret(self, position: int) -> None:
        """Once per process and secret, to keep the log short."""
        if position not in self._seen_old:
            self._seen_old.add(position)
            log.warning("old webhook secret used", extra={"secret_position": position})


def _signed_headers(headers: Sequence[tuple[str, str]]) -> tuple[str, str, str]:
    """The id, timestamp and signature headers. Each must occur exactly once, and the first two be
    well-formed.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        lowered = name.lower()
        if lowered in _HEADERS:
            if lowered in found:
                raise InvalidSignature("repeated header")
            found[lowered] = value
    if len(found) < len(_HEADERS):
        raise InvalidSignature("missing header")
    if not _ID_FORMAT.fullmatch(found[_ID]):
        raise InvalidSignature("malformed id")
    if not _TIMESTAMP_FORMAT.fullmatch(found[_TIMESTAMP]):
        raise InvalidSignature("malformed timestamp")
    return found[_ID], found[_TIMESTAMP], found[_SIGNATURE]


def _candidates(header: str) -> list[bytes]:
    """The `v1` signatures in the header. Other versions and malformed signatures are skipped."""
    candidates = []
    for token in header.split(" ", _MOST_SIGNATURES)[:_MOST_SIGNATURES]:
        if token.startswith(_VERSION) and len(token) <= _LONGEST_SIGNATURE:
            try:
                candidates.append(b64decode(token.removeprefix(_VERSION), validate=True))
            except ValueError:
                continue
    return candidates
