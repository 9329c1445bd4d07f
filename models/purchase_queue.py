"""Expansion: accounts whose claims wait for seats to be bought, and what may be bought for them.

A row says that somebody waits. One buyer at a time takes it, for a while, so that claims made at once come
to one purchase. It goes when nobody waits any more.
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
    # When a buyer should come, and until when one is there.
    next_at: Mapped[Written]
    lease_until: Mapped[Moment | None]
    attempts: Mapped[Counter]


@dataclass(frozen=True, slots=True)
class PurchaseLease:
    """A buyer's right to buy for the account, until then; `attempt` counts visits since somebody came."""

    account_id: str
    attempt: int
    until: datetime


def enqueue(session: Session, account_id: str) -> None:
    """Somebody waits from now on; called with the account locked."""
    session.execute(
        insert(QueuedPurchase)
        .values(account_id=account_id)
        .on_conflict_do_update(
            index_elements=[QueuedPurchase.account_id], set_={"next_at": func.now(), "attempts": 0}
        )
    )


_FREE = or_(QueuedPurchase.lease_until.is_(None), QueuedPurchase.lease_until <= func.now())


def due_accounts(session: Session, *, limit: int) -> Sequence[str]:
    """Accounts to which a buyer should come now."""
    return session.scalars(
        select(QueuedPurchase.account_id)
        .where(QueuedPurchase.next_at <= func.now(), _FREE)
        .order_by(QueuedPurchase.next_at)
        .limit(limit)
    ).all()


def lease(session: Session, account_id: str, lease: timedelta) -> PurchaseLease | None:
    """The right to buy for the account for so long; None where another buyer is there, or it is not time."""
    until = func.now() + lease
    taken = session.execute(
        update(QueuedPurchase)
        .where(QueuedPurchase.account_id == account_id, QueuedPurchase.next_at <= func.now(), _FREE)
        .values(lease_until=until, next_at=until, attempts=QueuedPurchase.attempts + 1)
        .returning(QueuedPurchase.attempts, QueuedPurchase.lease_until)
    ).one_or_none()
    return None if taken is None else PurchaseLease(account_id, taken.attempts, taken.lease_until)


def release(session: Session, visit: PurchaseLease, again: timedelta) -> None:
    """The buyer leaves, unless the visit has been over for long. Another should come after that time, or at
    once where something has happened meanwhile.
    """
    calm = QueuedPurchase.next_at >= visit.until
    session.execute(
        update(QueuedPurchase)
        .where(QueuedPurchase.account_id == visit.account_id, QueuedPurchase.lease_until == visit.until)
        .values(lease_until=None, next_at=case((calm, func.now() + again), else_=QueuedPurchase.next_at))
    )


def retry_now(session: Session, account_id: str) -> None:
    """The purchase that is waited for has come to its end: a buyer should come now."""
    session.execute(
        update(QueuedPurchase)
        .where(QueuedPurchase.account_id == account_id)
        .values(next_at=func.now(), attempts=0)
    )


def remove(session: Session, account_id: str) -> None:
    """Nobody waits any more; called with the account locked, so that nobody comes in between."""
    session.execute(delete(QueuedPurchase).where(QueuedPurchase.account_id == account_id))
