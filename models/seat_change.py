"""Seat changes: what was previewed, what of it was confirmed, and what became of it.

previewed -> submitted   confirmed: the one write to the provider is under way, or its outcome is not known
          -> expired     nobody confirmed it in time
submitted -> applied     a snapshot shows the cart
          -> scheduled   a snapshot shows it as scheduled for the renewal
          -> failed      the provider refused, its payment failed, or nothing is seen of it; no seats moved
scheduled -> applied     a snapshot shows the cart
          -> cancelled   taken back, here or at the provider
failed, cancelled -> applied   a later look shows the cart after all; nobody is released for it any more

A change is sent once: `sent_at` is committed before the write leaves, and whatever happens after that, only
looks at the subscription decide. One change of a subscription is under way at a time.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    and_,
    any_,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import ChangeInFlight, SeatChangeNotFound
from models.account import now
from models.base import Base, Counter, Json, Moment, Written, affected

PREVIEW_LASTS = timedelta(minutes=15)
# Between the look that no longer showed a scheduled change and the one that is believed.
SECOND_LOOK = timedelta(minutes=1)

# Why a change is as it is. What a later look may find to be otherwise:
NOT_APPLIED = "not_applied"
NO_LONGER_SCHEDULED = "no_longer_scheduled"
TAKEN_BACK = "taken_back"
# Somebody else has changed the cart before a look could tell what became of ours.
OVERTAKEN = "overtaken"
# A webhook said that its payment failed.
PAYMENT_FAILED = "payment_failed"
# Seen after it was taken for failed or cancelled.
APPLIED_LATE = "applied_late"


class ChangeState(StrEnum):
    PREVIEWED = "previewed"
    SUBMITTED = "submitted"
    SCHEDULED = "scheduled"
    APPLIED = "applied"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


OPEN = (ChangeState.SUBMITTED, ChangeState.SCHEDULED)
_TAKEN_FOR = (ChangeState.FAILED, ChangeState.CANCELLED)
# For so long a look may still show what was taken for failed, or for cancelled: a slow payment, the moments
# around a renewal. The same cart later is somebody else's doing, and concerns nobody who was named then.
_MAY_BE_SEEN = {
    NOT_APPLIED: timedelta(days=4),
    OVERTAKEN: timedelta(days=4),
    PAYMENT_FAILED: timedelta(days=4),
    NO_LONGER_SCHEDULED: timedelta(hours=2),
    TAKEN_BACK: timedelta(hours=2),
}


class SeatChange(Base):
    __tablename__ = "seat_changes"
    __table_args__ = (
        CheckConstraint(
            "state IN ('previewed', 'submitted', 'scheduled', 'applied', 'failed', 'expired', 'cancelled')",
            name="state",
        ),
        CheckConstraint("(state IN ('previewed', 'expired')) = (sent_at IS NULL)", name="sent"),
        Index(
            "seat_changes_one_under_way",
            "subscription_id",
            unique=True,
            postgresql_where=sql("state = 'submitted'"),
        ),
        Index(None, "next_at", postgresql_where=sql("state IN ('submitted', 'scheduled')")),
        Index(None, "subscription_id", "sent_at"),
        Index(None, "account_id", "created_at"),
        Index(
            "seat_changes_automatic",
            "account_id",
            "sent_at",
            postgresql_where=sql("is_automatic AND sent_at IS NOT NULL"),
        ),
        Index(None, "state", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    # Only the hash of the token that confirms it.
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    subscription_id: Mapped[str] = mapped_column(ForeignKey("subscriptions.id"))
    state: Mapped[str] = mapped_column(server_default=ChangeState.PREVIEWED.value)
    # The plan as it is sent, and what the subscription was when it was made; see `domain.purchase.steps`.
    plan: Mapped[Json]
    basis: Mapped[str]
    # Seats of each type that the plan changes, before and after it: {"full": {"before": 15, "after": 20}}.
    seats: Mapped[Json]
    # What the caller was shown.
    shown: Mapped[Json]
    # Since when looks no longer show it as scheduled.
    missed_at: Mapped[Moment | None]
    # Who confirmed it, and when the provider said that it agreed; None where it never said so.
    actor: Mapped[str | None]
    answered_at: Mapped[Moment | None]
    # Whether claims that wait asked for it, and no person; and the assignments that waited as it was sent.
    is_automatic: Mapped[bool] = mapped_column(server_default=sql("false"))
    buys_for: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")
    # The members whose seats are given back with it.
    release: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    created_at: Mapped[Written]
    expires_at: Mapped[Moment]
    sent_at: Mapped[Moment | None]
    attempts: Mapped[Counter]
    next_at: Mapped[Written]
    # Why it is as it is: a stable code, a sentence, and whether the same wish may be granted later.
    code: Mapped[str | None]
    message: Mapped[str | None]
    retry_helps: Mapped[bool | None]
    # Each state it was in: [{"state": "previewed", "at": "...", "message": "..."}].
    history: Mapped[list[Json]] = mapped_column(JSONB)

    @property
    def moved_at(self) -> datetime:
        """Since when it is in this state."""
        return datetime.fromisoformat(self.history[-1]["at"])

    @property
    def failed_permanently(self) -> bool:
        """Whether it failed for a reason that an immediate retry would not cure: it was refused, or the
        provider accepted it and the payment then failed.
        """
        is_unpaid = self.code == NOT_APPLIED and self.answered_at is not None
        return self.state == ChangeState.FAILED and (is_unpaid or not self.retry_helps)

    @property
    def may_have_tried_card(self) -> bool:
        """Whether it failed and may have charged the card in vain, or a retry would."""
        is_unconfirmed = self.state == ChangeState.FAILED and self.code == NOT_APPLIED
        return is_unconfirmed or self.failed_permanently

    @property
    def added_seats(self) -> int:
        """How many seats it adds, all seat types together; negative if it removes more than it adds."""
        return sum(step["after"] - step["before"] for step in self.seats.values())


def add_preview(session: Session, change: SeatChange) -> str:
    """Keep a preview; the token that confirms it, which is not kept."""
    token = f"sct_{secrets.token_urlsafe(32)}"
    moment = now(session)
    change.id = f"chg_{secrets.token_hex(12)}"
    change.token_hash = _hash(token)
    change.state = ChangeState.PREVIEWED.value
    change.expires_at = moment + PREVIEW_LASTS
    change.history = [_step(ChangeState.PREVIEWED, moment, None)]
    session.add(change)
    session.flush()
    return token


def get(session: Session, account_id: str, change_id: str) -> SeatChange:
    """The account's change; raises `SeatChangeNotFound`."""
    found = session.get(SeatChange, change_id)
    if found is None or found.account_id != account_id:
        raise SeatChangeNotFound(f"Account {account_id!r} has no seat change {change_id!r}.")
    return found


def by_token(session: Session, account_id: str, token: str) -> SeatChange:
    """The account's change that the token confirms, locked; raises `SeatChangeNotFound`."""
    found = session.scalar(select(SeatChange).where(SeatChange.token_hash == _hash(token)).with_for_update())
    if found is None or found.account_id != account_id:
        raise SeatChangeNotFound("No preview of this account has such a token: preview the change again.")
    return found


def lock(session: Session, change_id: str) -> SeatChange:
    """The change, locked."""
    return session.get_one(SeatChange, change_id, with_for_update=True, populate_existing=True)


def mark_accepted(session: Session, change_id: str) -> None:
    """The provider has said that it agreed."""
    lock(session, change_id).answered_at = now(session)


def refuse_if_in_flight(session: Session, change: SeatChange) -> None:
    """Raises `ChangeInFlight` while another change of the subscription is under way."""
    other = session.scalar(
        select(SeatChange.id).where(
            SeatChange.subscription_id == change.subscription_id, SeatChange.state == ChangeState.SUBMITTED
        )
    )
    if other is not None:
        raise ChangeInFlight(
            "Another change of this subscription is under way, and nothing was sent for this one. Wait for "
            "it, then preview again.",
            details={"change_id": other, "retry_helps": True},
        )


def set_state(
    session: Session,
    change: SeatChange,
    state: ChangeState,
    *,
    code: str | None = None,
    message: str | None = None,
    retry_helps: bool | None = None,
) -> None:
    """The change is in this state from now on, and for this reason."""
    moment = now(session)
    change.history = [*change.history, _step(state, moment, message)]
    change.state = state.value
    if state is ChangeState.SUBMITTED:
        change.sent_at = moment
    change.code, change.message, change.retry_helps = code, message, retry_helps
    change.attempts, change.missed_at = 0, None
    session.flush()


def postpone(session: Session, change_id: str, delay: timedelta) -> None:
    """Look at it again later."""
    change = lock(session, change_id)
    change.next_at = now(session) + delay


def due_changes(session: Session, *, limit: int) -> Sequence[str]:
    """Changes that are under way or scheduled and should be looked at now."""
    return session.scalars(
        select(SeatChange.id)
        .where(SeatChange.state.in_(OPEN), SeatChange.next_at <= func.now())
        .order_by(SeatChange.next_at)
        .limit(limit)
    ).all()


def sent_changes(session: Session, subscription_id: str) -> Sequence[SeatChange]:
    """The subscription's changes that a look may tell something of, locked: those under way or scheduled,
    and the newest that was sent if it was taken for failed, or for cancelled, because nothing was to be seen
    a while ago; or if it was seen as applied after that.
    """
    of_subscription = and_(SeatChange.subscription_id == subscription_id, SeatChange.sent_at.is_not(None))
    newest_first = (SeatChange.sent_at.desc(), SeatChange.id)
    newest = select(SeatChange.id).where(of_subscription).order_by(*newest_first).limit(1)
    found = session.scalars(
        select(SeatChange)
        .where(of_subscription, or_(SeatChange.state.in_(OPEN), SeatChange.id == newest.scalar_subquery()))
        .order_by(*newest_first)
        .with_for_update()
    ).all()
    return [
        one
        for place, one in enumerate(found)
        if one.state in OPEN
        or (place == 0 and one.state in _TAKEN_FOR and _may_be_seen(session, one))
        or (place == 0 and one.code == APPLIED_LATE)
    ]


def _may_be_seen(session: Session, change: SeatChange) -> bool:
    lasts = _MAY_BE_SEEN.get(change.code or "")
    return lasts is not None and now(session) < change.moved_at + lasts


def expect_cancellation(session: Session, change_id: str) -> None:
    """We have asked to take it back: the next look that does not show it is believed, and one that still does
    has it asked for again.
    """
    change = lock(session, change_id)
    if change.state == ChangeState.SCHEDULED and change.code != TAKEN_BACK:
        change.code, change.next_at = TAKEN_BACK, now(session)


def retry_cancellation(session: Session, change_id: str, delay: Callable[[int], timedelta]) -> None:
    """It is still there and about to be asked for once more; if it is there after that too, after `delay`,
    which is made of how often it was asked for.
    """
    change = lock(session, change_id)
    change.attempts += 1
    change.next_at = now(session) + delay(change.attempts)


def delete_previews(session: Session, age: timedelta) -> int:
    """Drop previews that nobody has confirmed for so long."""
    never_sent = delete(SeatChange).where(
        SeatChange.state.in_((ChangeState.PREVIEWED, ChangeState.EXPIRED)),
        SeatChange.created_at < func.now() - age,
    )
    return affected(session, never_sent)


def open_changes(session: Session, account_id: str) -> Sequence[SeatChange]:
    """The account's changes that are under way or scheduled, oldest first."""
    return session.scalars(
        select(SeatChange)
        .where(SeatChange.account_id == account_id, SeatChange.state.in_(OPEN))
        .order_by(SeatChange.created_at)
    ).all()


_MONEY_MATTERS = sql(
    """
    SELECT EXISTS (SELECT FROM seat_changes
                   WHERE subscription_id = :subscription_id AND state = 'submitted')
        OR EXISTS (SELECT FROM seat_changes
                   WHERE account_id = (SELECT account_id FROM subscriptions WHERE id = :subscription_id)
                         AND is_automatic AND sent_at IS NOT NULL AND state = 'failed')
    """
)


def awaits_payment(session: Session, subscription_id: str) -> bool:
    """Whether news of a payment might change anything: a change of the subscription is under way, or an
    automatic purchase of its account has failed. One query, as nearly every sync asks.
    """
    return bool(session.execute(_MONEY_MATTERS, {"subscription_id": subscription_id}).scalar_one())


def _step(state: ChangeState, at: datetime, message: str | None) -> Json:
    return {"state": state.value, "at": at.isoformat(), "message": message}


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def rename_member(session: Session, account_id: str, member_id: str, new_id: str) -> None:
    """Have the account's changes that are not over yet release the member under their new id."""
    session.execute(
        update(SeatChange)
        .where(
            SeatChange.account_id == account_id,
            SeatChange.state.in_((ChangeState.PREVIEWED, *OPEN, *_TAKEN_FOR)),
            any_(SeatChange.release) == member_id,
        )
        .values(release=func.array_replace(SeatChange.release, member_id, new_id))
    )
