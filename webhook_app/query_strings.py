"""Query strings, read strictly: what could be read in two ways is refused instead of guessed."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from webhook_app.percent_encoding import has_lone_percent

_MOST_PARAMETERS: Final = 50


class UnreadableQuery(ValueError):
    """A query string that cannot be read; `name` is the parameter, `problem` what is wrong with it."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(problem)
        self.name = name
        self.problem = problem


def parameters(query: bytes) -> dict[str, str]:
    """The parameters by name. Raises `UnreadableQuery` for text that is not percent-encoded UTF-8, and for
    repeated or empty names.
    """
    if not query:
        return {}
    text = query.decode("latin-1")
    if has_lone_percent(text):
        raise UnreadableQuery("query", "holds a percent sign that begins no escape: write it as %25")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, encoding="latin-1", max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise UnreadableQuery("query", f"holds more than {_MOST_PARAMETERS} parameters") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        known = _text(name, "query")
        if not known:
            raise UnreadableQuery("query", "holds a parameter without a name")
        if known in found:
            raise UnreadableQuery(known, "is given more than once")
        found[known] = _text(value, known)
    return found


def _text(percent_decoded: str, name: str) -> str:
    try:
        return percent_decoded.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise UnreadableQuery(name, "is not UTF-8") from None
