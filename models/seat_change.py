"""Seat changes: purchases and reductions at the provider, with their previews, states and history.

previewed -> submitted   confirmed: the one write to the provider is in flight, or its outcome is unknown
          -> expired     not confirmed in time
submitted -> applied     a sync shows the new cart
          -> scheduled   a sync shows the cart as scheduled for the renewal
          -> failed      refused by the provider, not paid, or never seen in a sync; no seats changed
scheduled -> applied     a sync shows the new cart
          -> cancelled   cancelled here or at the provider
failed, cancelled -> applied   a later sync shows the cart after all; no members are released for it then

A change is sent exactly once: `sent_at` is committed before the request leaves, and from then on only syncs
of the subscription decide its state. A subscription has at most one change in flight.
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
    func,
    or_,
    select,
    update,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import ChangeInFlight, SeatChangeNotFound
from models import account
from models.account import now
from models.base import Base, Counter, Json, Moment, Written, delete_slice
from models.driver import first_row

PREVIEW_LASTS = timedelta(minutes=15)
# A scheduled change counts as cancelled once two syncs at least this far apart did not show it.
SECOND_LOOK = timedelta(minutes=1)

# Codes: why a change is in its state.
# No sync showed it in time.
NOT_APPLIED = "not_applied"
# A sync showed that it was removed at the provider.
NO_LONGER_SCHEDULED = "no_longer_scheduled"
# We cancelled it.
TAKEN_BACK = "taken_back"
# Another change replaced the cart before a sync could show the outcome of ours.
OVERTAKEN = "overtaken"
# A webhook reported that its payment failed.
PAYMENT_FAILED = "payment_failed"
# A sync showed it after it had been marked as failed or cancelled.
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
_PRESUMED_OVER = (ChangeState.FAILED, ChangeState.CANCELLED)
# How long after it was marked failed or cancelled a change may still turn out to be applied: a payment may be
# slow, and reads lag around a renewal. The same cart seen later comes from somebody else's change, so it does
# not release the members named in ours.
_MAY_STILL_APPLY = {
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
    # The hash of the confirmation token; the token itself is not stored.
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    subscription_id: Mapped[str] = mapped_column(ForeignKey("subscriptions.id"))
    state: Mapped[str] = mapped_column(server_default=ChangeState.PREVIEWED.value)
    # The plan as sent, and the state of the subscription it was made for; see `domain.purchase.steps`.
    plan: Mapped[Json]
    basis: Mapped[str]
    # Seats of each type that the plan changes, before and after it: {"full": {"before": 15, "after": 20}}.
    seats: Mapped[Json]
    # The preview as shown to the caller.
    shown: Mapped[Json]
    # Since when syncs no longer show it as scheduled.
    missed_at: Mapped[Moment | None]
    # Who confirmed it.
    actor: Mapped[str | None]
    # When the provider accepted it; None if no such response arrived.
    answered_at: Mapped[Moment | None]
    # Whether pending claims triggered it rather than a person, and the ids of the assignments that were
    # pending when it was sent.
    is_automatic: Mapped[bool] = mapped_column(server_default=sql("false"))
    buys_for: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")
    # The ids of the members whose seats it releases.
    release: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    created_at: Mapped[Written]
    expires_at: Mapped[Moment]
    sent_at: Mapped[Moment | None]
    attempts: Mapped[Counter]
    next_at: Mapped[Written]
    # Why it is in its state: a stable code, a sentence, and whether the same request may succeed later.
    code: Mapped[str | None]
    message: Mapped[str | None]
    retry_helps: Mapped[bool | None]
    # Every state so far, oldest first: [{"state": "previewed", "at": "...", "message": "..."}].
    history: Mapped[list[Json]] = mapped_column(JSONB)

    @property
    def moved_at(self) -> datetime:
        """When it entered its current state."""
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
        """Whether it failed in a way that may have tried the card, or would try it on a retry."""
        is_unconfirmed = self.state == ChangeState.FAILED and self.code == NOT_APPLIED
        return is_unconfirmed or self.failed_permanently

    @property
    def added_seats(self) -> int:
        """How many seats it adds, all seat types together; negative if it removes more than it adds."""
        return sum(step["after"] - step["before"] for step in self.seats.values())


MAY_SHOW = sql("sent_at IS NOT NULL AND (state <> 'applied' OR code = 'applied_late')")
"""The changes that a sync may tell something of, and a few more: see `sent_changes`."""


def add_preview(session: Session, change: SeatChange) -> str:
    """Store a preview. Returns its confirmation token, of which only the hash is stored."""
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
    """The account's change. Raises `SeatChangeNotFound`."""
    found = session.get(SeatChange, change_id)
    if found is None or found.account_id != account_id:
        raise SeatChangeNotFound(f"Account {account_id!r} has no seat change {change_id!r}.")
    return found


def by_token(session: Session, account_id: str, token: str) -> SeatChange:
    """The account's change that the token confirms, locked. Raises `SeatChangeNotFound`."""
    found = session.scalar(select(SeatChange).where(SeatChange.token_hash == _hash(token)).with_for_update())
    if found is None or found.account_id != account_id:
        raise SeatChangeNotFound("No preview of this account has this token. Preview the change again.")
    return found


def lock(session: Session, change_id: str) -> SeatChange:
    """The change, locked."""
    return session.get_one(SeatChange, change_id, with_for_update=True, populate_existing=True)


def lock_with_account(session: Session, change_id: str) -> SeatChange:
    """The change, locked after the row of its account.

    For transactions that add a notice, which locks the account as well: everybody takes the two locks in this
    order, so that nobody waits for the other.
    """
    account.lock(session, session.get_one(SeatChange, change_id).account_id)
    return lock(session, change_id)


def mark_accepted(session: Session, change_id: str) -> None:
    """Record that the provider accepted the change."""
    lock(session, change_id).answered_at = now(session)


def refuse_if_in_flight(session: Session, subscription_id: str) -> None:
    """Raise `ChangeInFlight` if a change of the subscription is in flight."""
    other = session.scalar(
        select(SeatChange.id).where(
            SeatChange.subscription_id == subscription_id, SeatChange.state == ChangeState.SUBMITTED
        )
    )
    if other is not None:
        raise ChangeInFlight(
            "Another change of this subscription is in progress; this one was not sent. Wait until the other "
            "has finished, then preview again.",
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
    """Move the change to `state`, with the reason, and add it to the history."""
    moment = now(session)
    change.history = [*change.history, _step(state, moment, message)]
    change.state = state.value
    if state is ChangeState.SUBMITTED:
        change.sent_at = moment
    change.code, change.message, change.retry_helps = code, message, retry_helps
    change.attempts, change.missed_at = 0, None
    session.flush()


def postpone(session: Session, change_id: str, delay: timedelta) -> None:
    """Check the change again after `delay`."""
    change = lock(session, change_id)
    change.next_at = now(session) + delay


def due_changes(session: Session, *, limit: int) -> Sequence[str]:
    """Ids of the open changes (submitted or scheduled) whose next check is due, most overdue first."""
    return session.scalars(
        select(SeatChange.id)
        .where(SeatChange.state.in_(OPEN), SeatChange.next_at <= func.now())
        .order_by(SeatChange.next_at)
        .limit(limit)
    ).all()


def sent_changes(session: Session, subscription_id: str) -> Sequence[SeatChange]:
    """The subscription's changes whose outcome a sync may show, newest first, locked.

    These are the open ones, and the newest one sent if it may still turn out to be applied, or did so late.
    """
    of_subscription = and_(SeatChange.subscription_id == subscription_id, SeatChange.sent_at.is_not(None))
    newest_first = (SeatChange.sent_at.desc(), SeatChange.id)
    newest = select(SeatChange.id).where(of_subscription).order_by(*newest_first).limit(1)
    found = session.scalars(
        select(SeatChange)
        .where(of_subscription, MAY_SHOW)
        .where(or_(SeatChange.state.in_(OPEN), SeatChange.id == newest.scalar_subquery()))
        .order_by(*newest_first)
        .with_for_update()
    ).all()
    return [
        change
        for place, change in enumerate(found)
        if change.state in OPEN
        or (place == 0 and (change.code == APPLIED_LATE or _may_still_apply(session, change)))
    ]


def _may_still_apply(session: Session, change: SeatChange) -> bool:
    lasts = _MAY_STILL_APPLY.get(change.code or "") if change.state in _PRESUMED_OVER else None
    return lasts is not None and now(session) < change.moved_at + lasts


def expect_cancellation(session: Session, change_id: str) -> None:
    """Record that the provider was asked to cancel the scheduled change.

    The next sync that does not show the change marks it as cancelled; one that still shows it requests the
    cancellation again.
    """
    change = lock(session, change_id)
    if change.state == ChangeState.SCHEDULED and change.code != TAKEN_BACK:
        change.code, change.next_at = TAKEN_BACK, now(session)


def retry_cancellation(session: Session, change_id: str, delay: Callable[[int], timedelta]) -> None:
    """Count one more request to cancel the change, and schedule the next check of it.

    `delay` turns the number of requests so far into the time until that check.
    """
    change = lock(session, change_id)
    change.attempts += 1
    change.next_at = now(session) + delay(change.attempts)


def delete_previews(session: Session, age: timedelta, *, limit: int) -> int:
    """Delete at most `limit` unconfirmed previews older than `age`. Returns their number."""
    was_never_sent = SeatChange.state.in_((ChangeState.PREVIEWED, ChangeState.EXPIRED))
    is_old = SeatChange.created_at < func.now() - age
    return delete_slice(session, was_never_sent & is_old, oldest_by=SeatChange.created_at, limit=limit)


def open_changes(session: Session, account_id: str) -> Sequence[SeatChange]:
    """The account's open changes (submitted or scheduled), oldest first."""
    return session.scalars(
        select(SeatChange)
        .where(SeatChange.account_id == account_id, SeatChange.state.in_(OPEN))
        .order_by(SeatChange.created_at)
    ).all()


_AWAITS_PAYMENT = """
SELECT WHERE
    EXISTS (SELECT FROM seat_changes WHERE subscription_id = %(subscription_id)s AND state = 'submitted')
    OR EXISTS (SELECT FROM seat_changes
               WHERE account_id = (SELECT account_id FROM subscriptions WHERE id = %(subscription_id)s)
                     AND is_automatic AND sent_at IS NOT NULL AND state = 'failed')
"""


def awaits_payment(session: Session, subscription_id: str) -> bool:
    """Whether a payment event could change anything: a change of the subscription is in flight, or an
    automatic purchase of its account has failed. One query, because nearly every sync calls it.
    """
    return first_row(session, _AWAITS_PAYMENT, {"subscription_id": subscription_id}) is not None


def _step(state: ChangeState, at: datetime, message: str | None) -> Json:
    return {"state": state.value, "at": at.isoformat(), "message": message}


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def rename_member(session: Session, account_id: str, member_id: str, new_id: str) -> None:
    """Replace the member's id in the release lists of the account's unfinished changes."""
    session.execute(
        update(SeatChange)
        .where(
            SeatChange.account_id == account_id,
            SeatChange.state.in_((ChangeState.PREVIEWED, *OPEN, *_PRESUMED_OVER)),
            any_(SeatChange.release) == member_id,
        )
        .values(release=func.array_replace(SeatChange.release, member_id, new_id))
    )
