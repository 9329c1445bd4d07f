"""Turns pydantic's validation errors into faults that an API user understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from webhook_app.problems import Fault

_MOST_FAULTS: Final = 10
_LONGEST_PLACE: Final = 100
"""Limits of the response: a request may have thousands of faults, and names of any length."""

_WHOLE_NUMBER: Final = "must be a whole number, in digits"
_OBJECT: Final = "must be an object"
_TIME: Final = "must be a time with an offset, as 2026-11-22T12:00:00Z"
_NO_SUCH_TIME: Final = "is no time that exists: check month, day, hour, minute, second and offset"
_BOOLEAN: Final = "must be true or false"
_WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "string_type": "must be text",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "does not have the expected form",
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "list_type": "must be a list",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "too_short": "must hold at least {min_length}",
    "too_long": "must hold at most {max_length}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "datetime_type": _TIME,
    "datetime_parsing": _NO_SUCH_TIME,
    "datetime_from_date_parsing": _NO_SUCH_TIME,
    "datetime_object_invalid": _NO_SUCH_TIME,
    "timezone_aware": _TIME,
}
_EMPTY: Final = "must not be empty"
_FALLBACK: Final = "is not valid"


def faults_of(error: ValidationError) -> list[Fault]:
    """The faults of a request, one for each place.

    A value that fits none of several allowed types has errors for each of them. Only the errors deepest
    inside the value are reported: they belong to the type that was most likely meant.
    """
    found: dict[str, list[str]] = {}
    for raw in error.errors(include_input=False, include_url=False):
        problems = found.setdefault(_place(raw["loc"], raw["type"]), [])
        if (problem := _problem(raw["type"], raw["msg"], raw.get("ctx", {}))) not in problems:
            problems.append(problem)
    inner = [place for place in found if not any(other.startswith(f"{place}.") for other in found)]
    return [
        Fault(place[:_LONGEST_PLACE] or "body", ", or ".join(found[place])) for place in inner[:_MOST_FAULTS]
    ]


def _place(path: Sequence[str | int], kind: str) -> str:
    """The path to the value, without the names that pydantic inserts for the alternatives of a union."""
    *parents, last = path or ("",)
    names = [str(part) for part in parents if "[" not in str(part)]
    if "[" not in str(last) or kind == "extra_forbidden":
        names.append(str(last))
    return ".".join(names)


def _problem(kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind in {"string_too_short", "too_short"} and context["min_length"] == 1:
        return _EMPTY
    return _WORDS.get(kind, _FALLBACK).format(**context)
