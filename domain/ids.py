"""Ids: which texts are allowed as ids, for every entry point. Every allowed id can be used in a URL."""

from __future__ import annotations

from typing import Final
from unicodedata import category
from urllib.parse import quote

LONGEST_ID: Final = 200
"""The most characters of an id."""

MOST_ID_BYTES: Final = 512
"""The most bytes of an id in UTF-8. Two such ids, percent-encoded, fit into the 4094 bytes that gunicorn
allows a request line.
"""

_NEVER: Final = frozenset({"Cc", "Cs"})
_IN_A_SEGMENT: Final = "!$&'()*+,;=:@"
"""What RFC 3986 allows in a path segment without an escape, beside letters, digits and `-._~`."""


def has_control_characters(text: str) -> bool:
    """True if the text holds a control character (NUL, line ends, escapes) or half of a surrogate pair."""
    return not text.isprintable() and any(category(character) in _NEVER for character in text)


def problem_of(text: str) -> str | None:
    """Why the text cannot be the id of an account, a member or a subscription; None if it can.

    Every id can be sent as one percent-encoded path segment. `.` and `..` cannot: clients and proxies
    remove them from paths, encoded or not. Blanks at the ends get lost in files and in metadata.
    """
    if not text:
        return "must not be empty"
    if has_control_characters(text):
        return "must not hold control characters"
    if text != text.strip():
        return "must not begin or end with a blank"
    if text in (".", ".."):
        return "must not be `.` or `..`, which no URL can name"
    if len(text) > LONGEST_ID or len(text.encode()) > MOST_ID_BYTES:
        return f"must have at most {LONGEST_ID} characters and {MOST_ID_BYTES} bytes in UTF-8"
    return None


def is_id(text: str) -> bool:
    """True if the text can be the id of an account, a member or a subscription."""
    return problem_of(text) is None


def path_segment(text: str | bytes) -> str:
    """The text as one segment of a path, percent-encoded in the one spelling that this service uses."""
    return quote(text, safe=_IN_A_SEGMENT)
