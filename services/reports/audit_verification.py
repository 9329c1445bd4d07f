"""Verify the audit's hash chain: each row has a hash of its content and of the account's previous row.

A database trigger chains every row that is written, and stores each account's newest hash as its head. This
module recomputes the chain and reports rows that were modified, deleted, inserted or reordered. The hashed
text is a JSON array as PostgreSQL writes it,

    [previous, id, at, account_id, actor, source, reason, event_id, fence, member_id, subscription_id,
     before, after, subject_before, subject_after]

where `previous` is the previous hash in hexadecimal (null in the account's first row) and `at` is in UTC with
microseconds. Python's `json.dumps(fields, ensure_ascii=False)` of an exported row gives the same text.
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
    """A fault in an account's audit. `row_id` is the first wrong row, or the last row before missing ones;
    None if the account has no rows.
    """

    account_id: str
    row_id: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The result for a slice of accounts. `last` is its last account id; None if no accounts follow."""

    accounts: int
    rows: int
    breaks: Sequence[Break]
    last: str | None


def verify(session: Session, *, after: str | None, limit: int) -> VerificationResult:
    """Verify the next `limit` accounts by id, starting after the account `after` (None: from the first).

    All rows are read in one snapshot of the database; memory use does not grow with their number.
    """
    _read_one_snapshot(session)
    accounts, rows = _ACCOUNTS.limit(limit + 1), _ROWS
    if after is not None:
        accounts, rows = accounts.where(Account.id > after), rows.where(AuditRow.account_id > after)
    found = [_AccountState(*row) for row in session.execute(accounts)]
    last = found[limit - 1].account_id if len(found) > limit else None
    if last is not None:
        rows = rows.where(AuditRow.account_id <= last)
    return _verify_rows(session, found[:limit], rows, last)


def verify_account(session: Session, account_id: str) -> VerificationResult:
    """Verify one account. Raises `AccountNotFound`."""
    _read_one_snapshot(session)
    account.check_known(session, account_id)
    found = [_AccountState(*row) for row in session.execute(_ACCOUNTS.where(Account.id == account_id))]
    return _verify_rows(session, found, _ROWS.where(AuditRow.account_id == account_id), None)


def count_accounts(session: Session) -> int:
    """The number of accounts, including deleted ones, whose audit can be verified."""
    return session.scalar(select(func.count()).select_from(Account)) or 0


@dataclass(frozen=True, slots=True)
class _AccountState:
    """The account's row, and the head of its chain: what the newest audit row must agree with."""

    account_id: str
    status: str
    policy: str
    deadline: datetime | None
    seats: Json
    head_id: int | None
    head: bytes | None

    def facts(self) -> Json:
        """The facts that the newest audit row must have as `after`."""
        return {
            "status": self.status,
            "policy": self.policy,
            "deadline": self.deadline.isoformat() if self.deadline else None,
            "seats": self.seats,
        }


@dataclass(frozen=True, slots=True)
class _Link:
    """One audit row. `form` is its hashed text."""

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
# This repeats the trigger's function instead of calling it, because somebody who modified rows may have
# modified that function too.
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


def _read_one_snapshot(session: Session) -> None:
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def _verify_rows(
    session: Session, states: Sequence[_AccountState], rows: Executable, last: str | None
) -> VerificationResult:
    expected = {state.account_id: state for state in states}
    breaks: list[Break] = []
    count = 0
    links = (_Link(*row) for row in session.execute(rows))
    for account_id, links_of_account in groupby(links, key=attrgetter("account_id")):
        walk = _Walk(expected.pop(account_id, None))
        for link in links_of_account:
            walk.step(link)
        count += walk.rows
        breaks += walk.end(account_id)
    for account_id, state in expected.items():
        breaks += _Walk(state).end(account_id)
    return VerificationResult(len(states), count, sorted(breaks, key=attrgetter("account_id")), last)


@dataclass(slots=True)
class _Walk:
    """Checks one account's rows from the oldest to the newest. `state` is None if the account was deleted."""

    state: _AccountState | None
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
        """The first break, or else a break if the last row is not the newest that was written."""
        if self.found is not None:
            yield self.found
        elif (problem := _problem_at_end(self.state, self.last)) is not None:
            yield Break(account_id, self.last.id if self.last else None, problem)


def _problem(link: _Link, last: _Link | None) -> str | None:
    """Why this cannot be the row that was written after `last`; None if it can."""
    if sha256(link.form.encode()).digest() != link.hash:
        return "the row was modified: its hash does not match its content"
    if link.previous != (last.hash if last else None):
        return _misplaced(link, last)
    if link.before != (last.after if last else None):
        expected = f"the balance after row {last.id}" if last else "empty"
        return f"its `before` is not {expected}: the account was changed without an audit row"
    return None


def _misplaced(link: _Link, last: _Link | None) -> str:
    if last is None:
        return "the account's rows before it are missing"
    if link.previous == last.previous:
        return f"this row and row {last.id} follow the same row: one of them was inserted"
    return f"the row does not follow row {last.id}: rows between them were deleted or reordered"


def _problem_at_end(state: _AccountState | None, last: _Link | None) -> str | None:
    """Why the last row cannot be the newest that was written; None if it can."""
    if state is None:
        return "the account's row was deleted"
    if last is None:
        return f"all its rows are missing, up to row {state.head_id}" if state.head else None
    if last.hash != state.head:
        if state.head_id is not None and state.head_id > last.id:
            return f"the rows after it are missing, up to row {state.head_id}"
        return f"the row was inserted: the newest row that was written is row {state.head_id}"
    if last.after != state.facts():
        return "the account's balance is not the one after this row: it was changed without an audit row"
    return None
