"""Replays the audit from empty and compares it with the other tables."""

from __future__ import annotations

from collections import Counter, defaultdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.account import Account
from models.assignment import Assignment
from models.audit import AuditRow


def assert_audit_matches_the_tables(session: Session) -> None:
    """Assert that each audit row continues the last one, and that the final state equals the tables."""
    balances: dict[str, object] = defaultdict(lambda: None)
    seats: dict[int, object] = {}
    for row in session.scalars(select(AuditRow).order_by(AuditRow.id)):
        assert row.before == balances[row.account_id], f"row {row.id} does not follow from the one before"
        balances[row.account_id] = row.after
        if row.member_id is not None:
            seat = row.subject_after["id"]
            assert row.subject_before == seats.get(seat), f"row {row.id} does not follow for its member"
            seats[seat] = row.subject_after
    for account in session.scalars(select(Account)):
        assert balances[account.id] == {
            "status": account.status,
            "policy": account.policy,
            "deadline": account.deadline.isoformat() if account.deadline else None,
            "seats": account.seats,
        }
    assert seats == {one.id: one.facts() for one in session.scalars(select(Assignment))}


def assert_balances_count_the_assignments(session: Session) -> None:
    """Assert that each balance counts exactly the stored assignments."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for one in session.scalars(select(Assignment).where(Assignment.seat_type.is_not(None))):
        counted[one.account_id, str(one.seat_type), one.state] += 1
        counted[one.account_id, str(one.seat_type), "waiting"] += one.awaits is not None
    for account in session.scalars(select(Account)):
        for seat_type, balance in account.seats.items():
            assert balance["active"] == counted[account.id, seat_type, "active"]
            assert balance["held"] == counted[account.id, seat_type, "held"]
            assert balance.get("waiting", 0) == counted[account.id, seat_type, "waiting"]
