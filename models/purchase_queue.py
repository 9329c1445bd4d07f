"""Purchase queue: the accounts with pending claims, for which seats must be bought (policy `auto_expand`).

One worker at a time leases an account's row, so that concurrent claims lead to a single purchase. The row is
deleted when no claim is pending.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, Index, case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, Counter, Moment, Written


class QueuedPurchase(Base):
    __tablename__ = "expansions"
    __table_args__ = (Index(None, "next_at"),)

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    # When the next purchase attempt is due.
    next_at: Mapped[Written]
    lease_until: Mapped[Moment | None]
    attempts: Mapped[Counter]


@dataclass(frozen=True, slots=True)
class PurchaseLease:
    """The right to buy seats for the account until `until`. `attempt` counts leases since the last new
    claim.
    """

    account_id: str
    attempt: int
    until: datetime


def enqueue(session: Session, account_id: str) -> None:
    """Queue the account for a purchase now, because it has a new pending claim. Call it with the account
    locked.
    """
    session.execute(
        insert(QueuedPurchase)
        .values(account_id=account_id)
        .on_conflict_do_update(
            index_elements=[QueuedPurchase.account_id], set_={"next_at": func.now(), "attempts": 0}
        )
    )


_FREE = or_(QueuedPurchase.lease_until.is_(None), QueuedPurchase.lease_until <= func.now())


def due_accounts(session: Session, *, limit: int) -> Sequence[str]:
    """Ids of accounts with a purchase attempt due and no live lease, most overdue first."""
    return session.scalars(
        select(QueuedPurchase.account_id)
        .where(QueuedPurchase.next_at <= func.now(), _FREE)
        .order_by(QueuedPurchase.next_at)
        .limit(limit)
    ).all()


def lease(session: Session, account_id: str, lease: timedelta) -> PurchaseLease | None:
    """Lease the account's purchases for the time `lease`. None if nothing is due or another lease is live."""
    until = func.now() + lease
    leased = session.execute(
        update(QueuedPurchase)
        .where(QueuedPurchase.account_id == account_id, QueuedPurchase.next_at <= func.now(), _FREE)
        .values(lease_until=until, next_at=until, attempts=QueuedPurchase.attempts + 1)
        .returning(QueuedPurchase.attempts, QueuedPurchase.lease_until)
    ).one_or_none()
    return None if leased is None else PurchaseLease(account_id, leased.attempts, leased.lease_until)


def release(session: Session, held: PurchaseLease, again: timedelta) -> None:
    """Release the purchase lease, if it is still ours. Retry after `again`, or at once if a claim arrived
    meanwhile.
    """
    is_unchanged = QueuedPurchase.next_at >= held.until
    session.execute(
        update(QueuedPurchase)
        .where(QueuedPurchase.account_id == held.account_id, QueuedPurchase.lease_until == held.until)
        .values(
            lease_until=None, next_at=case((is_unchanged, func.now() + again), else_=QueuedPurchase.next_at)
        )
    )


def retry_now(session: Session, account_id: str) -> None:
    """Make the account due now, because its purchase in progress has ended."""
    session.execute(
        update(QueuedPurchase)
        .where(QueuedPurchase.account_id == account_id)
        .values(next_at=func.now(), attempts=0)
    )


def remove(session: Session, account_id: str) -> None:
    """Remove the account, which has no pending claim left. Call it with the account locked, or a new claim
    could be lost.
    """
    session.execute(delete(QueuedPurchase).where(QueuedPurchase.account_id == account_id))
