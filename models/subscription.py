"""Subscriptions: what we last saw of them. When they are looked at again: see `models.schedule`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from enum import StrEnum

from pydantic import TypeAdapter
from sqlalchemy import CheckConstraint, ForeignKey, Index, func, select
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, Counter, Json, Moment, Written
from seats.errors import SubscriptionNotFound
from seats.snapshot import SubscriptionSnapshot, SubscriptionStatus

_SNAPSHOT = TypeAdapter(SubscriptionSnapshot)


class LinkedBy(StrEnum):
    """Who said which account the subscription belongs to; the app's word is final."""

    APP = "app"
    METADATA = "metadata"
    OWN_ID = "own_id"


class Subscription(Base):
    __tablename__ = "subscriptions"
    __table_args__ = (
        CheckConstraint("0 <= synced AND synced <= hint", name="synced_within_hint"),
        CheckConstraint("(account_id IS NULL) = (linked_by IS NULL)", name="linked"),
        CheckConstraint("linked_by IN ('app', 'metadata', 'own_id')", name="linked_by"),
        CheckConstraint("(snapshot IS NULL) = (verified_at IS NULL)", name="verified"),
        Index(None, "routine", "next_at", postgresql_where=sql("hint > synced AND dead_reason IS NULL")),
        Index(None, "account_id"),
        Index(None, "looked_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[Written]
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    linked_by: Mapped[str | None]

    # The schedule; `models.schedule` says what each of these means.
    hint: Mapped[Counter]
    synced: Mapped[Counter]
    fence: Mapped[Counter]
    routine: Mapped[bool] = mapped_column(server_default=sql("false"))
    lease_until: Mapped[Moment | None]
    next_at: Mapped[Written]
    rung_at: Mapped[Moment | None]
    attempts: Mapped[Counter]
    last_error: Mapped[str | None]
    dead_reason: Mapped[str | None]
    # Since when the provider refuses every retrieve; None after an answer.
    refused_since: Mapped[Moment | None]

    # The last verified snapshot, and a newer one that only a webhook body vouches for (it may raise
    # seats until a retrieve confirms or clears it); see `seats.snapshot` for what is in them.
    snapshot: Mapped[Json | None]
    unverified: Mapped[Json | None]
    verified_at: Mapped[Moment | None]
    # What of the snapshot a list shows too, in short; see `seats.drift`.
    fingerprint: Mapped[str | None]
    # Since when the provider's list does not show it, though we have seen it there or elsewhere.
    unlisted_since: Mapped[Moment | None]
    # When a look last gave figures and a status whose meaning we know, and the product they were of: what
    # cannot be counted confirms nothing, and does not change the rules either.
    counted_at: Mapped[Moment | None]
    counted_product: Mapped[str | None]
    # When it was last looked at, whatever came of it: whose turn it is to be verified.
    looked_at: Mapped[Moment | None]
    # The last good figures: {"full": {"included": 5, "addon": 10, "contract": 0}}, and the last
    # status we know the meaning of. What cannot be counted leaves them as they are.
    seats: Mapped[Json | None]
    status: Mapped[str | None]
    status_since: Mapped[Moment | None]
    effect: Mapped[str | None]
    # The provider's own payment deadline; only webhook bodies carry it, a retrieve does not.
    past_due_ends_at: Mapped[Moment | None]

    @property
    def newest(self) -> SubscriptionSnapshot | None:
        """The snapshot the figures come from: the unverified one while it stands."""
        kept = self.unverified or self.snapshot
        return None if kept is None else kept_snapshot(kept)

    @property
    def product_id(self) -> str | None:
        kept = self.unverified or self.snapshot
        return None if kept is None else kept["product_id"]

    def facts(self) -> Json:
        """What the audit keeps of it."""
        return {
            "account_id": self.account_id,
            "linked_by": self.linked_by,
            "status": self.status,
            "product_id": self.product_id,
            "seats": self.seats,
            "verified": self.unverified is None,
        }


def to_keep(snapshot: SubscriptionSnapshot, account_key: str | None) -> Json:
    """What is kept of a snapshot: all but the metadata, of which only the entry that may name the account."""
    metadata = snapshot.metadata or {}
    named = {account_key: metadata[account_key]} if account_key and account_key in metadata else {}
    kept: Json = _SNAPSHOT.dump_python(replace(snapshot, metadata=named), mode="json")
    return kept


def kept_snapshot(kept: Json) -> SubscriptionSnapshot:
    """The snapshot that `to_keep` made it of."""
    return _SNAPSHOT.validate_python(kept)


def make_known(session: Session, subscription_id: str) -> None:
    """A row for the subscription, if there is none yet."""
    session.execute(insert(Subscription).values(id=subscription_id).on_conflict_do_nothing())


def of_account(session: Session, account_id: str) -> Sequence[Subscription]:
    """The account's subscriptions, by id."""
    return session.scalars(
        select(Subscription).where(Subscription.account_id == account_id).order_by(Subscription.id)
    ).all()


def changeable_of(session: Session, account_id: str, seat_types: Collection[str]) -> Sequence[Subscription]:
    """Those of them whose cart the provider lets us change for these seat types: the active ones that sell
    them, or all active ones if none is known to.
    """
    active = [one for one in of_account(session, account_id) if one.status == SubscriptionStatus.ACTIVE]
    return [one for one in active if set(seat_types) <= (one.seats or {}).keys()] or active


_NEVER_PAID_OR_OVER = frozenset(
    {
        SubscriptionStatus.PENDING,
        SubscriptionStatus.CANCELLED,
        SubscriptionStatus.FAILED,
        SubscriptionStatus.EXPIRED,
    }
)


def standing_of(session: Session, account_id: str) -> Sequence[Subscription]:
    """Those of them that were paid for and have not ended, whether they give seats at the moment or not."""
    known = [one for one in of_account(session, account_id) if one.status is not None]
    return [one for one in known if one.status not in _NEVER_PAID_OR_OVER]


def count(session: Session) -> int:
    """How many subscriptions are known."""
    return session.scalar(select(func.count()).select_from(Subscription)) or 0


def account_of(session: Session, subscription_id: str) -> str:
    """The account it belongs to; `SubscriptionNotFound` if it is unknown or has none yet."""
    account_id = session.scalar(select(Subscription.account_id).where(Subscription.id == subscription_id))
    if account_id is None:
        raise SubscriptionNotFound(f"No subscription {subscription_id!r} is known here.")
    return account_id
