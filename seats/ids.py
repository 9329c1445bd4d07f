"""What may be an id: the app's and the provider's own words, as long as they can be kept and shown."""

from __future__ import annotations

from typing import Final
from unicodedata import category

LONGEST_ID: Final = 200
_CONTROL: Final = "Cc"


def has_control_characters(text: str) -> bool:
    """Whether a character of the text is no sign but a command: NUL, line ends, escapes."""
    return not text.isprintable() and any(category(character) == _CONTROL for character in text)


def is_id(text: str) -> bool:
    """Whether the text can be the id of an account or a member."""
    return 0 < len(text) <= LONGEST_ID and not has_control_characters(text)
