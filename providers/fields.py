"""Single values out of untrusted JSON: of the wanted kind, or None. None of these ever raises."""

from __future__ import annotations

from datetime import UTC, datetime

from domain.snapshot import Metadata

LONGEST_TEXT = 200
LONGEST_URL = 2000


def text(value: object) -> str | None:
    """A word or an id: opaque, but not empty, not long, and printable (PostgreSQL's text refuses NUL)."""
    if isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and value.isprintable():
        return value
    return None


def integer(value: object) -> int | None:
    """A whole number of either sign; True is none, though Python takes it for 1."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def url(value: object) -> str | None:
    """An address for a person's browser."""
    if not isinstance(value, str) or len(value) > LONGEST_URL or not value.isprintable():
        return None
    return value if value.startswith(("https://", "http://")) else None


def moment(value: object) -> datetime | None:
    """A time in UTC. One without an offset is taken for UTC: what APIs mean when they leave it out."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def scalars(value: object) -> Metadata | None:
    """The strings, numbers and booleans of an object, but for those PostgreSQL cannot keep (NUL)."""
    if not isinstance(value, dict):
        return None
    return {
        key: plain
        for key, plain in value.items()
        if isinstance(plain, str | int | float) and "\0" not in key and "\0" not in str(plain)
    }
