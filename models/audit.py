"""The audit: one row per change of an account's seats, written in the same transaction and never updated.

`before` and `after` are the account's balance. Each row's `before` equals the previous row's `after`, so
replaying the rows from empty gives the current state. `subject_before` and `subject_after` describe the
member or subscription that changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Identity,
    Index,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, Json, Written


class AuditRow(Base):
    __tablename__ = "audit"
    __table_args__ = (Index(None, "account_id", "id"), Index(None, "subscription_id", "id"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[Written]
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    actor: Mapped[str]
    source: Mapped[str]
    reason: Mapped[str]
    event_id: Mapped[str | None]
    fence: Mapped[int | None] = mapped_column(BigInteger)
    member_id: Mapped[str | None]
    subscription_id: Mapped[str | None]
    before: Mapped[Json | None]
    after: Mapped[Json]
    subject_before: Mapped[Json | None]
    subject_after: Mapped[Json | None]
    # The hash chain, set by a database trigger; see `services.reports.audit_verification`.
    previous: Mapped[bytes | None]
    hash: Mapped[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Who changed seats, through which entry point, and why. `event_id` is the webhook that led to it, if
    any.
    """

    actor: str
    source: str
    reason: str
    event_id: str | None = None
    fence: int | None = None


def newest(session: Session) -> int:
    """The id of the newest row; 0 if there is none."""
    return session.scalar(select(func.max(AuditRow.id))) or 0


def newest_of_member(session: Session, account_id: str, member_id: str) -> AuditRow | None:
    """The newest row about the member; None if there is none."""
    of_member = select(AuditRow).where(AuditRow.account_id == account_id, AuditRow.member_id == member_id)
    return session.scalar(of_member.order_by(AuditRow.id.desc()).limit(1))


def was_changed_by(session: Session, subscription_ids: Collection[str], *, after: int) -> bool:
    """Whether one of these subscriptions changed an account after the row with the id `after`."""
    changes = select(AuditRow.id).where(AuditRow.subscription_id.in_(subscription_ids), AuditRow.id > after)
    return session.scalar(changes.limit(1)) is not None


@dataclass(frozen=True, slots=True)
class AccountChange:
    """An account changed by subscriptions: its balance before the first change and after the last."""

    account_id: str
    before: Json | None
    after: Json


def changed_accounts(
    session: Session, *, after: int, subscription_ids: Collection[str] | None = None
) -> Iterator[AccountChange]:
    """The accounts that subscriptions changed after the row with the id `after`, by account id.

    With `subscription_ids`, only changes by these subscriptions.
    """
    wanted = (
        select(
            AuditRow.account_id,
            func.array_agg(aggregate_order_by(AuditRow.before, AuditRow.id))[1],
            func.array_agg(aggregate_order_by(AuditRow.after, AuditRow.id.desc()))[1],
        )
        .where(AuditRow.id > after, AuditRow.subscription_id.is_not(None))
        .group_by(AuditRow.account_id)
        .order_by(AuditRow.account_id)
    )
    if subscription_ids is not None:
        wanted = wanted.where(AuditRow.subscription_id.in_(subscription_ids))
    for row in session.execute(wanted.execution_options(yield_per=1000)):
        yield AccountChange(*row)


class AuditHead(Base):
    """The newest audit row of each account, so that a deletion at the end of its chain is detected."""

    __tablename__ = "audit_heads"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    row_id: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes]
