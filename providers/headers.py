"""What the headers of an answer say about time and allowance; nonsense says nothing."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
_COUNT = re.compile(r"[0-9]{1,9}")
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e11  # the years 2001 and 1973: no wait is that long
_LONGEST_WAIT = 3600.0  # a header misread must not park a subscription for days


def seconds_until(text: str | None, now: float) -> float | None:
    """The wait a header asks for. `Retry-After` counts seconds or names a date; the unit of
    `X-RateLimit-Reset` is not documented, so seconds and milliseconds since 1970 are understood too.
    """
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        date = http_date(text)
        return None if date is None else _bounded(date - now)
    number = float(text)
    if number < _EPOCH_SECONDS:
        return _bounded(number)
    return _bounded((number if number < _EPOCH_MILLISECONDS else number / 1000) - now)


def http_date(text: str) -> float | None:
    """A date such as `Sun, 22 Nov 2026 08:00:00 GMT` in seconds since 1970."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def count(text: str | None) -> int | None:
    """A whole number."""
    return int(text) if text and _COUNT.fullmatch(text) else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), _LONGEST_WAIT)
