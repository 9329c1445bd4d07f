"""Purchase resets: failed automatic purchases before this time no longer count against the account."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, Written


class PurchaseReset(Base):
    __tablename__ = "purchase_resets"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    reset_at: Mapped[Written]
    # What caused the reset: a person, a payment or a new payment method.
    reason: Mapped[str]


def reset(session: Session, account_id: str, reason: str) -> None:
    """Let purchases that failed before now no longer count, for this reason."""
    values = {"reset_at": func.now(), "reason": reason}
    added = insert(PurchaseReset).values(account_id=account_id, **values)
    session.execute(added.on_conflict_do_update(index_elements=[PurchaseReset.account_id], set_=values))


def last_reset(session: Session, account_id: str) -> datetime | None:
    """When failed purchases of the account were last reset; None if never."""
    return session.scalar(select(PurchaseReset.reset_at).where(PurchaseReset.account_id == account_id))
