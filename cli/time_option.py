"""Times as command-line options, and how they are printed. They have the same format as in the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click
from pydantic import TypeAdapter, ValidationError

from services.ledger.field_types import Time

_TIME: Final = TypeAdapter(Time)


class TimeOption(click.ParamType[datetime]):
    """ISO 8601 with an offset, as `2026-11-22T12:00:00Z`."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return _TIME.validate_python(value)
        except ValidationError as error:
            (fault,) = error.errors(include_input=False, include_url=False, include_context=False)
            self.fail(f"'{value}': {fault['msg'].removeprefix('Value error, ')}", param, ctx)


def shown(moment: datetime) -> str:
    """The time in UTC with seconds, for people."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
