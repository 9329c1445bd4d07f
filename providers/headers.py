"""Parses response headers about times and rate limits. A malformed header gives None."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
_COUNT = re.compile(r"[0-9]{1,9}")
# The years 2001 and 1973. Larger numbers are times since 1970, in seconds and in milliseconds; no wait is
# that long.
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e11
_LONGEST_WAIT = 3600.0  # a misread header must not stop syncs of a subscription for days


def seconds_until(text: str | None, now: float) -> float | None:
    """The seconds to wait according to a header, at most an hour. `now` is in seconds since 1970.

    `Retry-After` is a number of seconds or a date. The unit of `X-RateLimit-Reset` is not documented, so
    seconds and milliseconds since 1970 are accepted too.
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
    """A date such as `Sun, 22 Nov 2026 08:00:00 GMT`, as seconds since 1970; None if malformed."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def count(text: str | None) -> int | None:
    """A non-negative integer of at most 9 digits."""
    return int(text) if text and _COUNT.fullmatch(text) else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), _LONGEST_WAIT)
