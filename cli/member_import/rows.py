"""One row of an import: what may stand in it, and in our words what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from domain.ids import LONGEST_ID
from services.ledger.claims import ClaimRequest
from services.ledger.input_types import Activity, Email, Id, Name, NewId

# The clock that wrote the file may be ahead of ours; further ahead is a mistake.
_AHEAD: Final = timedelta(days=1)


def _moment(value: object) -> object:
    """ISO 8601; without an offset it is UTC. Bare numbers, which might be anything, are refused."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError("is no ISO 8601 time such as 2026-11-22T12:00:00Z")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class MemberRow(BaseModel):
    """A member as the file has them."""

    model_config = ConfigDict(frozen=True)

    account_id: NewId
    member_id: NewId
    role: Id
    email: Email | None = None
    name: Name | None = None
    protected: bool = False
    last_active_at: Annotated[Activity, BeforeValidator(_moment)] | None = Field(None)
    hold: bool = False

    def wish(self, now: datetime) -> ClaimRequest:
        """The claim that seats them; raises `BadRow` for an activity that is still to come.

        It is not `check` that tells: what can be read of a file must be the same on every day.
        """
        wish = ClaimRequest(**self.model_dump(exclude={"account_id"}))
        if wish.last_active_at is None or wish.last_active_at <= now:
            return wish
        if wish.last_active_at > now + _AHEAD:
            raise BadRow("last_active_at is still to come")
        return replace(wish, last_active_at=now)


COLUMNS: Final = tuple(MemberRow.model_fields)
REQUIRED: Final = tuple(name for name, field in MemberRow.model_fields.items() if field.is_required())

_SAID: Final = {
    "missing": "is missing",
    "string_too_short": "is missing",
    "string_too_long": f"is longer than {LONGEST_ID} characters",
    "string_pattern_mismatch": "is no e-mail address",
    "string_type": "is no text",
    "string_unicode": "is no UTF-8 text",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
}


class BadRow(Exception):
    """The row can't be used; the text says why, without what stands in it."""


def check(cells: Mapping[str, object]) -> MemberRow:
    """The row; raises `BadRow` with everything wrong in it."""
    given = {name: value for name, value in cells.items() if value is not None and value != ""}
    try:
        return MemberRow.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise BadRow("; ".join(map(_in_words, problems))) from None


def _in_words(problem: Mapping[str, Any]) -> str:
    said = _SAID.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    return f"{problem['loc'][0]} {said}"
