"""Cancellations of subscriptions: those confirmed here, and scheduled ones that were found at the provider.

previewed -> submitted   confirmed: the one write to the provider is in flight, or its outcome is unknown
          -> expired     not confirmed in time
submitted -> scheduled   a sync shows that the subscription ends at its next billing date
          -> applied     a sync shows that the subscription has ended
          -> failed      refused by the provider, never seen in a sync, or the subscription could not be read
scheduled -> applied     a sync shows that the subscription has ended
          -> undone      a sync shows that it goes on: undone here or at the provider
failed -> scheduled, applied   a sync shows it after all

Like a seat change, a cancellation and its undo are each sent exactly once: `sent_at` and `undo_sent_at` are
committed before the request leaves, and from then on only syncs decide.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, func, or_, select
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import CancellationNotFound, ChangeInFlight
from models import account
from models.account import now
from models.base import Base, Counter, Json, Moment, Written, delete_slice

PREVIEW_LASTS: Final = timedelta(minutes=15)
# How long after it was marked failed a cancellation may still be recognised. The same state seen later is
# taken for somebody else's cancellation.
MAY_SHOW_LATE: Final = timedelta(days=1)

# Codes: why a cancellation is in its state.
# No sync showed it in time.
NOT_APPLIED: Final = "not_applied"
# No sync showed its undo in time; it is still scheduled.
UNDO_NOT_APPLIED: Final = "undo_not_applied"
# The subscription could not be read for so long that nobody waits any more for the outcome; of the undo.
NOT_READ: Final = "not_read"
UNDO_NOT_READ: Final = "undo_not_read"
# A sync showed it after it had been marked as failed.
APPLIED_LATE: Final = "applied_late"
# Another cancellation of the subscription took its place.
REPLACED: Final = "replaced"

UNSEEN: Final = (NOT_APPLIED, NOT_READ)
"""The codes of failed cancellations that a sync may show after all."""


class CancellationState(StrEnum):
    PREVIEWED = "previewed"
    SUBMITTED = "submitted"
    SCHEDULED = "scheduled"
    APPLIED = "applied"
    FAILED = "failed"
    EXPIRED = "expired"
    UNDONE = "undone"


OPEN: Final = (CancellationState.SUBMITTED, CancellationState.SCHEDULED)


class Cancellation(Base):
    __tablename__ = "cancellations"
    __table_args__ = (
        CheckConstraint(
            "state IN ('previewed', 'submitted', 'scheduled', 'applied', 'failed', 'expired', 'undone')",
            name="state",
        ),
        CheckConstraint("kind IN ('now', 'at_renewal')", name="kind"),
        CheckConstraint("state NOT IN ('previewed', 'expired') OR sent_at IS NULL", name="sent"),
        CheckConstraint("undo_sent_at IS NULL OR state = 'scheduled'", name="undo_is_pending"),
        Index(
            "cancellations_one_under_way",
            "subscription_id",
            unique=True,
            postgresql_where=sql("state = 'submitted'"),
        ),
        Index(
            "cancellations_one_scheduled",
            "subscription_id",
            unique=True,
            postgresql_where=sql("state = 'scheduled'"),
        ),
        Index(
            None,
            "next_at",
            postgresql_where=sql("state = 'submitted' OR undo_sent_at IS NOT NULL"),
        ),
        Index(None, "subscription_id", "created_at"),
        Index(None, "account_id", "created_at"),
        Index(None, "created_at", postgresql_where=sql("state IN ('previewed', 'expired')")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    # The hash of the confirmation token; None if it was found at the provider.
    token_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    subscription_id: Mapped[str] = mapped_column(ForeignKey("subscriptions.id"))
    state: Mapped[str]
    # When the subscription is to end: `now` or `at_renewal` (see `domain.billing_terms.When`), and the time.
    kind: Mapped[str]
    ends_at: Mapped[Moment | None]
    # The state of the subscription that it was previewed for; see `domain.purchase.steps`.
    basis: Mapped[str | None]
    # The preview as shown to the caller; None if it was found at the provider.
    shown: Mapped[Json | None]
    # Who confirmed it, and who asked to undo it.
    actor: Mapped[str | None]
    undo_actor: Mapped[str | None]
    created_at: Mapped[Written]
    expires_at: Mapped[Moment | None]
    sent_at: Mapped[Moment | None]
    # Set while the outcome of an undo is not known.
    undo_sent_at: Mapped[Moment | None]
    attempts: Mapped[Counter]
    next_at: Mapped[Written]
    # Why it is in its state: a stable code, a sentence, and whether the same request may succeed later.
    code: Mapped[str | None]
    message: Mapped[str | None]
    retry_helps: Mapped[bool | None]
    # Every state so far, oldest first: [{"state": "previewed", "at": "...", "message": "..."}].
    history: Mapped[list[Json]] = mapped_column(JSONB)

    @property
    def was_found(self) -> bool:
        """Whether it was made at the provider, not here."""
        return self.token_hash is None

    @property
    def moved_at(self) -> datetime:
        """When it entered its current state."""
        return datetime.fromisoformat(self.history[-1]["at"])


MAY_SHOW: Final = sql(
    "state IN ('submitted', 'scheduled') OR (state = 'failed' AND created_at > now() - interval '2 days')"
)
"""The cancellations whose outcome a sync may show."""


def add_preview(session: Session, cancellation: Cancellation) -> str:
    """Store a preview. Returns its confirmation token, of which only the hash is stored."""
    token = f"cnt_{secrets.token_urlsafe(32)}"
    cancellation.token_hash = _hash(token)
    cancellation.expires_at = now(session) + PREVIEW_LASTS
    _add(session, cancellation, CancellationState.PREVIEWED)
    return token


def add_found(session: Session, cancellation: Cancellation, state: CancellationState) -> None:
    """Store a cancellation that a sync found at the provider, in this state."""
    _add(session, cancellation, state)


def _add(session: Session, cancellation: Cancellation, state: CancellationState) -> None:
    cancellation.id = f"can_{secrets.token_hex(12)}"
    cancellation.state = state.value
    cancellation.history = [_step(state, now(session), None)]
    session.add(cancellation)
    session.flush()


def get(session: Session, account_id: str, cancellation_id: str) -> Cancellation:
    """The account's cancellation. Raises `CancellationNotFound`."""
    found = session.get(Cancellation, cancellation_id)
    if found is None or found.account_id != account_id:
        raise CancellationNotFound(f"Account {account_id!r} has no cancellation {cancellation_id!r}.")
    return found


def by_token(session: Session, account_id: str, token: str) -> Cancellation:
    """The account's cancellation that the token confirms, locked. Raises `CancellationNotFound`."""
    wanted = select(Cancellation).where(Cancellation.token_hash == _hash(token)).with_for_update()
    found = session.scalar(wanted)
    if found is None or found.account_id != account_id:
        raise CancellationNotFound(
            "No preview of this account has this token. Preview the cancellation again."
        )
    return found


def lock(session: Session, cancellation_id: str) -> Cancellation:
    """The cancellation, locked."""
    return session.get_one(Cancellation, cancellation_id, with_for_update=True, populate_existing=True)


def lock_with_account(session: Session, cancellation_id: str) -> Cancellation:
    """The cancellation, locked after the row of its account.

    For transactions that add a notice, which locks the account as well: everybody takes the two locks in this
    order, so that nobody waits for the other.
    """
    account.lock(session, session.get_one(Cancellation, cancellation_id).account_id)
    return lock(session, cancellation_id)


def set_state(
    session: Session,
    cancellation: Cancellation,
    state: CancellationState,
    *,
    code: str | None = None,
    message: str | None = None,
    retry_helps: bool | None = None,
) -> None:
    """Move the cancellation to `state`, with the reason, and add it to the history."""
    moment = now(session)
    cancellation.history = [*cancellation.history, _step(state, moment, message)]
    cancellation.state = state.value
    if state is CancellationState.SUBMITTED:
        cancellation.sent_at = moment
    cancellation.code, cancellation.message, cancellation.retry_helps = code, message, retry_helps
    cancellation.attempts, cancellation.undo_sent_at = 0, None
    session.flush()


def refuse_if_in_flight(session: Session, subscription_id: str) -> None:
    """Raise `ChangeInFlight` if a cancellation of the subscription, or the undo of one, is in flight."""
    in_flight = or_(Cancellation.state == CancellationState.SUBMITTED, Cancellation.undo_sent_at.is_not(None))
    wanted = select(Cancellation.id).where(Cancellation.subscription_id == subscription_id, in_flight)
    other = session.scalar(wanted.limit(1))
    if other is not None:
        raise ChangeInFlight(
            "A cancellation of this subscription, or its undo, is in progress; nothing was sent. Wait until "
            "it has finished, then preview again.",
            details={"cancellation_id": other, "retry_helps": True},
        )


def of_subscription(session: Session, subscription_id: str) -> Sequence[Cancellation]:
    """The subscription's cancellations whose outcome a sync may show, newest first, locked."""
    return session.scalars(
        select(Cancellation)
        .where(Cancellation.subscription_id == subscription_id, MAY_SHOW)
        .order_by(Cancellation.sent_at.desc().nulls_last(), Cancellation.id)
        .with_for_update()
    ).all()


def has_any(session: Session, subscription_id: str) -> bool:
    """Whether any cancellation of the subscription was ever scheduled, sent or found."""
    known = select(Cancellation.id).where(
        Cancellation.subscription_id == subscription_id,
        or_(Cancellation.sent_at.is_not(None), Cancellation.token_hash.is_(None)),
    )
    return session.scalar(known.limit(1)) is not None


def open_cancellations(session: Session, account_id: str) -> Sequence[Cancellation]:
    """The account's open cancellations (submitted or scheduled), oldest first."""
    return session.scalars(
        select(Cancellation)
        .where(Cancellation.account_id == account_id, Cancellation.state.in_(OPEN))
        .order_by(Cancellation.created_at, Cancellation.id)
    ).all()


def due(session: Session, *, limit: int) -> Sequence[str]:
    """Ids of the cancellations with an unknown outcome whose next check is due, most overdue first."""
    is_unknown = or_(
        Cancellation.state == CancellationState.SUBMITTED, Cancellation.undo_sent_at.is_not(None)
    )
    return session.scalars(
        select(Cancellation.id)
        .where(is_unknown, Cancellation.next_at <= func.now())
        .order_by(Cancellation.next_at)
        .limit(limit)
    ).all()


def postpone(session: Session, cancellation_id: str, delay: timedelta) -> None:
    """Check the cancellation again after `delay`."""
    lock(session, cancellation_id).next_at = now(session) + delay


def delete_previews(session: Session, age: timedelta, *, limit: int) -> int:
    """Delete at most `limit` unconfirmed previews older than `age`. Returns their number."""
    was_never_sent = Cancellation.state.in_((CancellationState.PREVIEWED, CancellationState.EXPIRED))
    is_old = Cancellation.created_at < func.now() - age
    return delete_slice(session, was_never_sent & is_old, oldest_by=Cancellation.created_at, limit=limit)


def _step(state: CancellationState, at: datetime, message: str | None) -> Json:
    return {"state": state.value, "at": at.isoformat(), "message": message}


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
