"""Reads single values from untrusted JSON. Each function returns None for any other type and never raises."""

from __future__ import annotations

from datetime import UTC, datetime

from domain.snapshot import Metadata

LONGEST_TEXT = 200
LONGEST_URL = 2000
LARGEST_NUMBER = 1e15


def text(value: object) -> str | None:
    """A non-empty printable string of at most 200 characters (PostgreSQL's text type does not allow NUL)."""
    if isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and value.isprintable():
        return value
    return None


def integer(value: object) -> int | None:
    """An integer. Booleans do not count, although `bool` is a subclass of `int` in Python."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def decimal(value: object) -> float | None:
    """A finite number. Booleans do not count."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if abs(value) < LARGEST_NUMBER else None


def url(value: object) -> str | None:
    """An http or https URL of at most 2000 characters."""
    if not isinstance(value, str) or len(value) > LONGEST_URL or not value.isprintable():
        return None
    return value if value.startswith(("https://", "http://")) else None


def moment(value: object) -> datetime | None:
    """An ISO 8601 time, converted to UTC. Without an offset it is taken as UTC, as is usual in APIs."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def scalars(value: object) -> Metadata | None:
    """The strings, numbers and booleans of an object, except any with NUL (PostgreSQL cannot store it)."""
    if not isinstance(value, dict):
        return None
    return {
        key: plain
        for key, plain in value.items()
        if isinstance(plain, str | int | float) and "\0" not in key and "\0" not in str(plain)
    }
