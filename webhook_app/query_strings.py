"""Strict parsing of query strings: an ambiguous one is refused."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from webhook_app.percent_encoding import has_lone_percent

_MAX_PARAMETERS: Final = 50


class InvalidQuery(ValueError):
    """A query string that cannot be parsed; `name` is the parameter, `problem` what is wrong with it."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(problem)
        self.name = name
        self.problem = problem


def parameters(query: bytes) -> dict[str, str]:
    """The parameters by name. Raises `InvalidQuery` if the text is not percent-encoded UTF-8, or if a name
    is repeated or empty.
    """
    if not query:
        return {}
    text = query.decode("latin-1")
    if has_lone_percent(text):
        raise InvalidQuery("query", "contains a percent sign that begins no escape: write it as %25")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, encoding="latin-1", max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise InvalidQuery("query", f"has more than {_MAX_PARAMETERS} parameters") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        decoded = _text(name, "query")
        if not decoded:
            raise InvalidQuery("query", "has a parameter without a name")
        if decoded in found:
            raise InvalidQuery(decoded, "is given more than once")
        found[decoded] = _text(value, decoded)
    return found


def _text(percent_decoded: str, name: str) -> str:
    try:
        return percent_decoded.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise InvalidQuery(name, "is not UTF-8") from None
