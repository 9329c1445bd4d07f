"""One row of an import: its columns, its validation, and readable messages for what is wrong."""

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
from services.ledger.field_types import Activity, Email, Id, Name, NewId

# The clock that wrote the file may be ahead of this one, by no more than this.
_MAX_CLOCK_SKEW: Final = timedelta(days=1)


def _time(value: object) -> object:
    """Parse ISO 8601; without an offset it is UTC. Plain numbers are ambiguous and are refused."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None:
        raise ValueError("is not an ISO 8601 time such as 2026-11-22T12:00:00Z")
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class MemberRow(BaseModel):
    """A member as given in the file."""

    model_config = ConfigDict(frozen=True)

    account_id: NewId
    member_id: NewId
    role: Id
    email: Email | None = None
    name: Name | None = None
    protected: bool = False
    last_active_at: Annotated[Activity, BeforeValidator(_time)] | None = Field(None)
    hold: bool = False

    def claim_request(self, now: datetime) -> ClaimRequest:
        """The claim for this member. Raises `BadRow` if the last activity is in the future.

        `check` does not test that, because a file must be read in the same way on every day.
        """
        request = ClaimRequest(**self.model_dump(exclude={"account_id"}))
        if request.last_active_at is None or request.last_active_at <= now:
            return request
        if request.last_active_at > now + _MAX_CLOCK_SKEW:
            raise BadRow("last_active_at is in the future")
        return replace(request, last_active_at=now)


COLUMNS: Final = tuple(MemberRow.model_fields)
REQUIRED: Final = tuple(name for name, field in MemberRow.model_fields.items() if field.is_required())

_MESSAGES: Final = {
    "missing": "is missing",
    "string_too_short": "is missing",
    "string_too_long": f"is longer than {LONGEST_ID} characters",
    "string_pattern_mismatch": "is not an e-mail address",
    "string_type": "is not text",
    "string_unicode": "is not UTF-8 text",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
}


class BadRow(Exception):
    """The row cannot be used. The message says why, without the values of the row."""


def check(cells: Mapping[str, object]) -> MemberRow:
    """Validate a row. Raises `BadRow` with all of its problems."""
    given = {name: value for name, value in cells.items() if value is not None and value != ""}
    try:
        return MemberRow.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise BadRow("; ".join(map(_message, problems))) from None


def _message(problem: Mapping[str, Any]) -> str:
    text = _MESSAGES.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    return f"{problem['loc'][0]} {text}"
