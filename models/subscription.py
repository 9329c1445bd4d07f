"""Subscriptions: what we last saw of them, and the clock by which they are looked at again.

One row is the schedule, the lease and the retry clock. `hint` counts reasons to look, `synced` is the
hint that the stored snapshot covers, `fence` numbers the leases: a result is written only while its
fence is still the row's. All times are the database's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import TypeAdapter
from sqlalchemy import CheckConstraint, ForeignKey, Index, func, or_, select, update
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, Counter, Json, Moment, Written, affected
from models.inbox import InboxEvent, InboxState
from seats.errors import SubscriptionNotFound
from seats.snapshot import SubscriptionSnapshot

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
        Index(None, "next_at", postgresql_where=sql("hint > synced AND dead_reason IS NULL")),
        Index(None, "account_id"),
        Index(None, "looked_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[Written]
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    linked_by: Mapped[str | None]

    hint: Mapped[Counter]
    synced: Mapped[Counter]
    fence: Mapped[Counter]
    lease_until: Mapped[Moment | None]
    next_at: Mapped[Written]
    rung_at: Mapped[Moment | None]
    attempts: Mapped[Counter]
    last_error: Mapped[str | None]
    dead_reason: Mapped[str | None]

    # The last verified snapshot, and a newer one that only a webhook body vouches for (it may raise
    # seats until a retrieve confirms or clears it); see `seats.snapshot` for what is in them.
    snapshot: Mapped[Json | None]
    unverified: Mapped[Json | None]
    verified_at: Mapped[Moment | None]
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
        return None if kept is None else _SNAPSHOT.validate_python(kept)

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


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to look at a subscription once: valid while the row still carries its fence.

    `mark` is the hint that the coming retrieve will cover, `events` the inbox rows behind it,
    `event_id` the newest of them, `taken_at` when the look began (database time).
    """

    subscription_id: str
    fence: int
    mark: int
    attempt: int
    taken_at: datetime
    events: tuple[int, ...]
    event_id: str | None


_LEASE = sql(
    """
    UPDATE subscriptions
    SET fence = fence + 1, lease_until = now() + :duration, attempts = attempts + 1
    WHERE id = :id AND hint > synced AND dead_reason IS NULL
      AND (lease_until IS NULL OR lease_until < now()) AND next_at <= now()
    RETURNING fence, hint, attempts, now() AS taken_at
    """
)


def lease(session: Session, subscription_id: str, duration: timedelta) -> Lease | None:
    """Take the subscription to look at it, unless nothing is due or somebody else has it.

    The attempt is counted here, not at its failure, so that one which kills its process counts too.
    The update holds the row while the inbox is read: no delivery can raise the hint in between, so
    the events seen are exactly those that `mark` covers.
    """
    row = session.execute(_LEASE, {"id": subscription_id, "duration": duration}).one_or_none()
    if row is None:
        return None
    pending = session.execute(
        select(InboxEvent.id, InboxEvent.event_id)
        .where(InboxEvent.subscription_id == subscription_id, InboxEvent.state == InboxState.PENDING)
        .order_by(InboxEvent.id)
    ).all()
    return Lease(
        subscription_id=subscription_id,
        fence=row.fence,
        mark=row.hint,
        attempt=row.attempts,
        taken_at=row.taken_at,
        events=tuple(event.id for event in pending),
        event_id=pending[-1].event_id if pending else None,
    )


def hand_back(session: Session, held: Lease, *, delay: timedelta, error: str, counted: bool = True) -> bool:
    """End a lease that got no answer: due again after `delay`. False if another lease has begun since."""
    ended = (
        update(Subscription)
        .where(Subscription.id == held.subscription_id, Subscription.fence == held.fence)
        .values(
            lease_until=None,
            next_at=func.now() + delay,
            last_error=error,
            attempts=func.greatest(Subscription.attempts - (0 if counted else 1), 0),
        )
    )
    return bool(affected(session, ended))


def bury(session: Session, held: Lease, reason: str) -> bool:
    """Give up: the row and the events behind it become dead letters, for a person to replay.

    A hint that came meanwhile deserves a look of its own: then this lease just ends, and False is said.
    """
    ended = (
        update(Subscription)
        .where(
            Subscription.id == held.subscription_id,
            Subscription.fence == held.fence,
            Subscription.hint == held.mark,
        )
        .values(lease_until=None, dead_reason=reason, last_error=reason, looked_at=held.taken_at)
    )
    if not affected(session, ended):
        hand_back(session, held, delay=timedelta(seconds=1), error=reason)
        return False
    session.execute(
        update(InboxEvent)
        .where(InboxEvent.id.in_(held.events), InboxEvent.state == InboxState.PENDING)
        .values(state=InboxState.DEAD, reason=reason)
    )
    return True


def make_known(session: Session, subscription_id: str) -> None:
    """A row for the subscription, if there is none yet."""
    session.execute(insert(Subscription).values(id=subscription_id).on_conflict_do_nothing())


def raise_hint(session: Session, subscription_id: str) -> None:
    """Ask for one more look, now; an unknown subscription becomes known by it."""
    wanted = insert(Subscription).values(id=subscription_id, hint=1)
    session.execute(
        wanted.on_conflict_do_update(
            index_elements=[Subscription.id],
            set_={
                "hint": Subscription.hint + 1,
                "next_at": func.now(),
                "attempts": 0,
                "dead_reason": None,
            },
        )
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """A subscription that was not looked at since it was asked for; why the last look failed, if it did."""

    subscription_id: str
    reason: str | None
    is_dead: bool


def of_account(session: Session, account_id: str) -> Sequence[Subscription]:
    """The account's subscriptions, by id."""
    return session.scalars(
        select(Subscription).where(Subscription.account_id == account_id).order_by(Subscription.id)
    ).all()


def ask(session: Session, account_id: str) -> dict[str, int]:
    """Ask for one more look at each subscription of the account; the hint that each has to reach."""
    ids = session.scalars(
        select(Subscription.id).where(Subscription.account_id == account_id).order_by(Subscription.id)
    ).all()
    for subscription_id in ids:
        raise_hint(session, subscription_id)
    hints = select(Subscription.id, Subscription.hint).where(Subscription.id.in_(ids))
    return {row.id: row.hint for row in session.execute(hints)}


def waiting(session: Session, hints: Mapping[str, int]) -> Sequence[Waiting]:
    """Those of the subscriptions that no look has brought to their hint yet."""
    found = session.execute(
        select(Subscription.id, Subscription.synced, Subscription.last_error, Subscription.dead_reason)
        .where(Subscription.id.in_(hints))
        .order_by(Subscription.id)
    )
    return [
        Waiting(row.id, row.last_error, row.dead_reason is not None)
        for row in found
        if row.synced < hints[row.id]
    ]


_HASTEN = sql(
    """
    UPDATE subscriptions SET next_at = now(), rung_at = NULL
    WHERE id IN (
        SELECT id FROM subscriptions
        WHERE hint > synced AND dead_reason IS NULL AND attempts > 0 AND lease_until IS NULL
          AND next_at > now() + :longer_than
        FOR UPDATE SKIP LOCKED)
    """
)


def hasten_failed(session: Session, *, longer_than: timedelta) -> None:
    """The provider answers again: who has longer than this to wait out of a backoff is due at once."""
    session.execute(_HASTEN, {"longer_than": longer_than})


_RING_DUE = sql(
    """
    UPDATE subscriptions SET rung_at = now()
    WHERE id IN (
        SELECT id FROM subscriptions
        WHERE hint > synced AND dead_reason IS NULL AND next_at <= now()
          AND (lease_until IS NULL OR lease_until < now())
          AND (rung_at IS NULL OR rung_at < now() - :again)
        ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING id
    """
)


def take_due(session: Session, *, limit: int, again: timedelta) -> Sequence[str]:
    """Subscriptions that are due and were not taken up by a sweep for the time `again`."""
    return session.execute(_RING_DUE, {"limit": limit, "again": again}).scalars().all()


def snapshots(session: Session, subscription_ids: Sequence[str]) -> dict[str, SubscriptionSnapshot]:
    """The verified snapshots of those that have one."""
    found = session.execute(
        select(Subscription.id, Subscription.snapshot).where(
            Subscription.id.in_(subscription_ids), Subscription.snapshot.is_not(None)
        )
    )
    return {row.id: _SNAPSHOT.validate_python(row.snapshot) for row in found}


def not_looked_at_for(session: Session, age: timedelta, *, limit: int) -> Sequence[str]:
    """Subscriptions not looked at for so long, or ever, that nothing asks for (or in vain), oldest first."""
    return session.scalars(
        select(Subscription.id)
        .where(
            or_(Subscription.hint == Subscription.synced, Subscription.dead_reason.is_not(None)),
            or_(Subscription.looked_at.is_(None), Subscription.looked_at < func.now() - age),
        )
        .order_by(Subscription.looked_at.nulls_first())
        .limit(limit)
    ).all()


def count(session: Session) -> int:
    """How many subscriptions are known."""
    return session.scalar(select(func.count()).select_from(Subscription)) or 0


def newest_body(session: Session, subscription_id: str) -> bytes | None:
    """The body of the newest event that waits for this subscription, by the time the event occurred."""
    return session.scalar(
        select(InboxEvent.body)
        .where(InboxEvent.subscription_id == subscription_id, InboxEvent.state == InboxState.PENDING)
        .order_by(InboxEvent.occurred_at.desc().nulls_last(), InboxEvent.id.desc())
        .limit(1)
    )


def account_of(session: Session, subscription_id: str) -> str:
    """The account it belongs to; `SubscriptionNotFound` if it is unknown or has none yet."""
    account_id = session.scalar(select(Subscription.account_id).where(Subscription.id == subscription_id))
    if account_id is None:
        raise SubscriptionNotFound(f"No subscription {subscription_id!r} is known here.")
    return account_id
