"""The audit as a chain: each row carries a hash of its content and of the account's row before it.

A trigger of the database chains every row that is written, whoever writes it, and keeps each account's
newest hash as its head. Here the chain is gone over again: what was changed, taken away, put in or moved
behind our back is told. The text that is hashed is a JSON array as PostgreSQL writes it,

    [previous, id, at, account_id, actor, source, reason, event_id, fence, member_id, subscription_id,
     before, after, subject_before, subject_after]

with `previous` the hash before it in hexadecimal, null in the account's first row, and `at` in UTC with six
digits behind the second: what Python's `json.dumps(fields, ensure_ascii=False)` makes of an exported row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from operator import attrgetter
from typing import Final

from sqlalchemy import ColumnElement, Executable, func, literal_column, select
from sqlalchemy.orm import Session

from models import account
from models.account import Account
from models.audit import AuditHead, AuditRow
from models.base import Json

_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Break:
    """Where an account's audit is not as it was written: the first row that is not, or the last one before
    something is missing; None where there are no rows at all.
    """

    account_id: str
    row_id: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """What a slice of accounts came to. `last` is its last account; None where no further ones follow."""

    accounts: int
    rows: int
    breaks: Sequence[Break]
    last: str | None


def verify(session: Session, *, after: str | None, limit: int) -> VerificationResult:
    """Go over the rows of so many accounts by id, from the one behind `after`; all of one moment, and in
    memory that does not grow with the rows.
    """
    _of_one_moment(session)
    accounts, rows = _ACCOUNTS.limit(limit + 1), _ROWS
    if after is not None:
        accounts, rows = accounts.where(Account.id > after), rows.where(AuditRow.account_id > after)
    found = [_Side(*row) for row in session.execute(accounts)]
    last = found[limit - 1].account_id if len(found) > limit else None
    if last is not None:
        rows = rows.where(AuditRow.account_id <= last)
    return _gone_over(session, found[:limit], rows, last)


def verify_account(session: Session, account_id: str) -> VerificationResult:
    """The same for one account; raises `AccountNotFound`."""
    _of_one_moment(session)
    account.check_known(session, account_id)
    found = [_Side(*row) for row in session.execute(_ACCOUNTS.where(Account.id == account_id))]
    return _gone_over(session, found, _ROWS.where(AuditRow.account_id == account_id), None)


def count_accounts(session: Session) -> int:
    """How many there are to go over."""
    return session.scalar(select(func.count()).select_from(Account)) or 0


@dataclass(frozen=True, slots=True)
class _Side:
    """What stands of an account beside its rows: which of them is the newest, and its balance now."""

    account_id: str
    status: str
    policy: str
    deadline: datetime | None
    seats: Json
    head_id: int | None
    head: bytes | None

    def facts(self) -> Json:
        """The balance as the newest row has to have it."""
        return {
            "status": self.status,
            "policy": self.policy,
            "deadline": self.deadline.isoformat() if self.deadline else None,
            "seats": self.seats,
        }


@dataclass(frozen=True, slots=True)
class _Link:
    """One row as it was read."""

    account_id: str
    id: int
    form: str
    hash: bytes
    previous: bytes | None
    before: Json | None
    after: Json


_ACCOUNTS = (
    select(
        *(Account.id, Account.status, Account.policy, Account.deadline, Account.seats),
        *(AuditHead.row_id, AuditHead.hash),
    )
    .outerjoin(AuditHead, AuditHead.account_id == Account.id)
    .order_by(Account.id)
)
# Written out once more and not left to a function of the database's, which may have been changed as well.
_FORM: ColumnElement[str] = literal_column(
    """
    jsonb_build_array(
        encode(previous, 'hex'), id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        account_id, actor, source, reason, event_id, fence, member_id, subscription_id,
        before, after, subject_before, subject_after
    )::text
    """
)
_ROWS = (
    select(
        *(AuditRow.account_id, AuditRow.id, _FORM, AuditRow.hash),
        *(AuditRow.previous, AuditRow.before, AuditRow.after),
    )
    .order_by(AuditRow.account_id, AuditRow.id)
    .execution_options(yield_per=_AT_ONCE)
)


def _of_one_moment(session: Session) -> None:
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def _gone_over(
    session: Session, sides: Sequence[_Side], rows: Executable, last: str | None
) -> VerificationResult:
    expected = {side.account_id: side for side in sides}
    breaks: list[Break] = []
    count = 0
    links = (_Link(*row) for row in session.execute(rows))
    for account_id, its in groupby(links, key=attrgetter("account_id")):
        walk = _Walk(expected.pop(account_id, None))
        for link in its:
            walk.step(link)
        count += walk.rows
        breaks += walk.end(account_id)
    for account_id, side in expected.items():
        breaks += _Walk(side).end(account_id)
    return VerificationResult(len(sides), count, sorted(breaks, key=attrgetter("account_id")), last)


@dataclass(slots=True)
class _Walk:
    """Along one account's rows, from the oldest to the newest; `side` is None where the account is gone."""

    side: _Side | None
    rows: int = 0
    last: _Link | None = None
    found: Break | None = None

    def step(self, link: _Link) -> None:
        self.rows += 1
        problem = None if self.found else _problem(link, self.last)
        if problem is not None:
            self.found = Break(link.account_id, link.id, problem)
        self.last = link

    def end(self, account_id: str) -> Iterator[Break]:
        """What was found: the first break, or that the end is not where it has to be."""
        if self.found is not None:
            yield self.found
        elif (problem := _problem_at_end(self.side, self.last)) is not None:
            yield Break(account_id, self.last.id if self.last else None, problem)


def _problem(link: _Link, last: _Link | None) -> str | None:
    """Why the row cannot be the one that was written after `last`."""
    if sha256(link.form.encode()).digest() != link.hash:
        return "it was changed: its hash is not that of its content"
    if link.previous != (last.hash if last else None):
        return _misplaced(link, last)
    if link.before != (last.after if last else None):
        where = f"row {last.id} left it" if last else "nothing was"
        return f"its balance `before` is not as {where}: the account was changed past the audit"
    return None


def _misplaced(link: _Link, last: _Link | None) -> str:
    if last is None:
        return "the account's rows before it are missing"
    if link.previous == last.previous:
        return f"it and row {last.id} follow the same row: one of the two was put in"
    return f"it does not follow row {last.id}: what was between them is missing, or was moved"


def _problem_at_end(side: _Side | None, last: _Link | None) -> str | None:
    """Why the last row cannot be the newest that was written."""
    if side is None:
        return "its account is gone"
    if last is None:
        return f"all its rows are missing, up to row {side.head_id}" if side.head else None
    if last.hash != side.head:
        if side.head_id is not None and side.head_id > last.id:
            return f"the rows after it are missing, up to row {side.head_id}"
        return f"it was put in: the newest that was written is row {side.head_id}"
    if last.after != side.facts():
        return "the account's balance is not as it left it: the account was changed past the audit"
    return None
