"""The audit of an account as a file, JSON or CSV: the same bytes at the door and from the command.

It is made a slice at a time, each read in a transaction of its own: a reader who takes his time holds no
connection, and memory stays flat. Kept rows never change, so that the slices are of one piece.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from io import StringIO
from typing import Any, Final

import orjson

from models import account
from models.audit import AuditRow
from models.database import Sessions
from services.reports import history

_AT_ONCE: Final = 500
_COLUMNS: Final = (
    *("id", "at", "account_id", "actor", "source", "reason", "event_id", "fence", "member_id"),
    *("subscription_id", "before", "after", "subject_before", "subject_after", "previous", "hash"),
)
# A spreadsheet takes a cell that begins so for a formula, or drops the quote that says it is none.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


class Format(StrEnum):
    """What the file is written in."""

    JSON = "json"
    CSV = "csv"


MIMETYPES: Final = {Format.JSON: "application/json", Format.CSV: "text/csv"}


def export(
    sessions: Sessions, account_id: str, form: Format, *, since: datetime | None, until: datetime | None
) -> Iterator[bytes]:
    """The account's rows from `since` on and before `until`, oldest first, as they stood at the call.

    Raises `AccountNotFound` at once and not with the first piece.
    """
    with sessions() as session:
        account.check_known(session, account_id)
        newest = history.newest_id(session, account_id)
    slices = _slices(sessions, account_id, since=since, until=until, newest=newest)
    if form is Format.CSV:
        return _csv(slices)
    return _json(slices, {"account_id": account_id, "from": since, "to": until})


def _slices(
    sessions: Sessions, account_id: str, *, since: datetime | None, until: datetime | None, newest: int
) -> Iterator[Sequence[AuditRow]]:
    last = 0
    while last < newest:
        with sessions() as session:
            page = history.rows(
                session, account_id, since=since, until=until, after=last, upto=newest, limit=_AT_ONCE
            )
        yield page
        last = page[-1].id if len(page) == _AT_ONCE else newest


def _json(slices: Iterator[Sequence[AuditRow]], about: dict[str, Any]) -> Iterator[bytes]:
    """One document, `{..., "rows": [...]}`, with a line for each row."""
    yield orjson.dumps(about, option=orjson.OPT_UTC_Z)[:-1] + b',"rows":['
    separator = b"\n"
    for rows in slices:
        for row in rows:
            yield separator + orjson.dumps(_shown(row))
            separator = b",\n"
    yield b"\n]}\n"


def _csv(slices: Iterator[Sequence[AuditRow]]) -> Iterator[bytes]:
    """As RFC 4180 has it, in UTF-8, with a header; what is an object stands as JSON in its cell."""
    yield _lines([_COLUMNS])
    for rows in slices:
        yield _lines([[_cell(value) for value in _shown(row).values()] for row in rows])


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    written = StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _shown(row: AuditRow) -> dict[str, Any]:
    """Everything that is hashed, and in the form in which it is hashed."""
    told = {column: getattr(row, column) for column in _COLUMNS}
    hashes = {"previous": row.previous.hex() if row.previous else None, "hash": row.hash.hex()}
    return {**told, "at": _time(row.at), **hashes}


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
