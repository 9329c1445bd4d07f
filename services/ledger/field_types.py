"""Input types: validation of ids, names, e-mail addresses and times, for the API and for imported files."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    StringConstraints,
)

from domain import emails
from domain.ids import LONGEST_ID, has_control_characters, problem_of


def _printable(text: str) -> str:
    if has_control_characters(text):
        raise ValueError("must not hold control characters")
    return text


def _nameable(text: str) -> str:
    if (problem := problem_of(text)) is not None:
        raise ValueError(problem)
    return text


def _usable(address: str) -> str:
    if (problem := emails.problem_of(address)) is not None:
        raise ValueError(problem)
    return address


_A_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)", re.ASCII)


_AN_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")


_FIRST_MOMENT: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _since_1970(moment: datetime) -> datetime:
    """The time in UTC. The first and last hours that `datetime` can hold overflow in that conversion."""
    with suppress(OverflowError):
        if (in_utc := moment.astimezone(UTC)) >= _FIRST_MOMENT:
            return in_utc
    raise ValueError("must be a time since 1970")


_SHORT_TEXT: Final = StringConstraints(min_length=1, max_length=LONGEST_ID)


Id = Annotated[str, _SHORT_TEXT, AfterValidator(_printable)]
"""The id or name of something that exists. Ids from before the rules for new ones are accepted."""


NewId = Annotated[str, _SHORT_TEXT, AfterValidator(_nameable)]
"""The id of an account, a member or a subscription in a call that may create it."""


def _an_address(text: str) -> str:
    if not _AN_ADDRESS.fullmatch(text):
        raise ValueError("is not an e-mail address")
    return text


Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=200),
    AfterValidator(_an_address),
    AfterValidator(_usable),
]


Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_printable)
]


Activity = Annotated[AwareDatetime, AfterValidator(_since_1970)]


def _written_out(value: object) -> object:
    """Reject bare numbers, which would be read as seconds since 1970, and dates without time and offset."""
    if not (isinstance(value, str) and _A_TIME.fullmatch(value)):
        raise ValueError("must be a time with an offset, as 2026-11-22T12:00:00Z; write + as %2B in a URL")
    return value


Time = Annotated[Activity, BeforeValidator(_written_out)]
