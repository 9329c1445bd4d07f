"""The audit read as a book: from nothing, row by row, to the present."""

from __future__ import annotations

from collections import Counter, defaultdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.account import Account
from models.assignment import Assignment, AssignmentState
from models.audit import AuditRow


def assert_audit_tells_the_present(session: Session) -> None:
    """Each row's before is the last one's after, and replayed they give just what the tables hold."""
    balances: dict[str, object] = defaultdict(lambda: None)
    members: dict[tuple[str, str], object] = defaultdict(lambda: None)
    for row in session.scalars(select(AuditRow).order_by(AuditRow.id)):
        assert row.before == balances[row.account_id], f"row {row.id} does not follow from the one before"
        balances[row.account_id] = row.after
        if row.member_id is not None:
            seat = (row.account_id, row.member_id)
            assert _without_end(row.subject_before) == _without_end(members[seat])
            members[seat] = row.subject_after
    for account in session.scalars(select(Account)):
        assert balances[account.id] == {
            "status": account.status,
            "policy": account.policy,
            "deadline": account.deadline.isoformat() if account.deadline else None,
            "seats": account.seats,
        }
    live = select(Assignment).where(Assignment.state != AssignmentState.RELEASED)
    seated = {(one.account_id, one.member_id): one.facts() for one in session.scalars(live)}
    assert {seat: facts for seat, facts in members.items() if _without_end(facts)} == seated


def assert_counters_are_the_rows(session: Session) -> None:
    """The balance counts exactly the assignments that are there."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for one in session.scalars(select(Assignment).where(Assignment.seat_type.is_not(None))):
        counted[one.account_id, str(one.seat_type), one.state] += 1
    for account in session.scalars(select(Account)):
        for seat_type, balance in account.seats.items():
            assert balance["active"] == counted[account.id, seat_type, "active"]
            assert balance["held"] == counted[account.id, seat_type, "held"]


def _without_end(facts: object) -> object:
    """A released assignment is, for whoever comes next, no assignment."""
    return None if isinstance(facts, dict) and facts["state"] == "released" else facts
