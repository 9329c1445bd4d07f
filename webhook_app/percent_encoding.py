"""Percent-encoded text, in paths and in query strings."""

from __future__ import annotations

import re
from typing import Final

_LONE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def has_lone_percent(text: str) -> bool:
    """True if a percent sign begins no escape, as in `100%`: such text can be read in two ways."""
    return _LONE_PERCENT.search(text) is not None
