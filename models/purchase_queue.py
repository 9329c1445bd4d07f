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


class Expansion(Base):
    __tablename__ = "expansions"
    __table_args__ = (Index(None, "next_at"),)

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    # When a buyer should come, and until when one is there.
    next_at: Mapped[Written]
    lease_until: Mapped[Moment | None]
    attempts: Mapped[Counter]


@dataclass(frozen=True, slots=True)
class Visit:
    """A buyer's right to buy for the account, until then; `attempt` counts visits since somebody came."""

    account_id: str
    attempt: int
    until: datetime


def want(session: Session, account_id: str) -> None:
    """Somebody waits from now on; called with the account locked."""
    session.execute(
        insert(Expansion)
        .values(account_id=account_id)
        .on_conflict_do_update(
            index_elements=[Expansion.account_id], set_={"next_at": func.now(), "attempts": 0}
        )
    )


_FREE = or_(Expansion.lease_until.is_(None), Expansion.lease_until <= func.now())


def due(session: Session, *, limit: int) -> Sequence[str]:
    """Accounts to which a buyer should come now."""
    return session.scalars(
        select(Expansion.account_id)
        .where(Expansion.next_at <= func.now(), _FREE)
        .order_by(Expansion.next_at)
        .limit(limit)
    ).all()


def take(session: Session, account_id: str, lease: timedelta) -> Visit | None:
    """The right to buy for the account for so long; None where another buyer is there, or it is not time."""
    until = func.now() + lease
    taken = session.execute(
        update(Expansion)
        .where(Expansion.account_id == account_id, Expansion.next_at <= func.now(), _FREE)
        .values(lease_until=until, next_at=until, attempts=Expansion.attempts + 1)
        .returning(Expansion.attempts, Expansion.lease_until)
    ).one_or_none()
    return None if taken is None else Visit(account_id, taken.attempts, taken.lease_until)


def hand_back(session: Session, visit: Visit, again: timedelta) -> None:
    """The buyer leaves, unless the visit has been over for long. Another should come after that time, or at
    once where something has happened meanwhile.
    """
    calm = Expansion.next_at >= visit.until
    session.execute(
        update(Expansion)
        .where(Expansion.account_id == visit.account_id, Expansion.lease_until == visit.until)
        .values(lease_until=None, next_at=case((calm, func.now() + again), else_=Expansion.next_at))
    )


def hurry(session: Session, account_id: str) -> None:
    """The purchase that is waited for has come to its end: a buyer should come now."""
    session.execute(
        update(Expansion).where(Expansion.account_id == account_id).values(next_at=func.now(), attempts=0)
    )


def done(session: Session, account_id: str) -> None:
    """Nobody waits any more; called with the account locked, so that nobody comes in between."""
    session.execute(delete(Expansion).where(Expansion.account_id == account_id))
