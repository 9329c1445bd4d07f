"""Export an account's audit as JSON or CSV. The API and the command line produce the same bytes.

Rows are read in slices, each in its own transaction, so a slow reader holds no connection and memory use is
constant. Audit rows never change, so the slices are consistent.
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
# A spreadsheet reads a cell that begins with one of these as a formula, or drops a leading quote.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


class Format(StrEnum):
    """The file format."""

    JSON = "json"
    CSV = "csv"


MIMETYPES: Final = {Format.JSON: "application/json", Format.CSV: "text/csv"}


def export(
    sessions: Sessions, account_id: str, form: Format, *, since: datetime | None, until: datetime | None
) -> Iterator[bytes]:
    """The file in pieces: the account's rows with `since` <= `at` < `until` that exist at the call, oldest
    first. Raises `AccountNotFound` at the call, not at the first piece.
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
    """One document, `{..., "rows": [...]}`, with one line per audit row."""
    yield orjson.dumps(about, option=orjson.OPT_UTC_Z)[:-1] + b',"rows":['
    separator = b"\n"
    for rows in slices:
        for row in rows:
            yield separator + orjson.dumps(_shown(row))
            separator = b",\n"
    yield b"\n]}\n"


def _csv(slices: Iterator[Sequence[AuditRow]]) -> Iterator[bytes]:
    """CSV by RFC 4180, in UTF-8, with a header. Objects are written as JSON."""
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
    """All hashed fields, in the form in which they are hashed."""
    fields = {column: getattr(row, column) for column in _COLUMNS}
    hashes = {"previous": row.previous.hex() if row.previous else None, "hash": row.hash.hex()}
    return {**fields, "at": _time(row.at), **hashes}


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
